# SPDX-License-Identifier: GPL-2.0-or-later
"""What imports esptool: it runs in the worker process and nowhere else (docs/adr/0014)."""
