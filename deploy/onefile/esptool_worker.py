# SPDX-License-Identifier: GPL-2.0-or-later
"""The self-contained station's process for esptool, a program of its own (docs/adr/0014)."""

from agent.adapters.drivers.esp32.worker import main

main()
