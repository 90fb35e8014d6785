"""What a board of driver esp32 goes through where agent.toml names no recipe.

deploy/examples/recipe-esp32.toml says the same, with the reasons; a test compares them.
"""

from __future__ import annotations

DEFAULT_RECIPE = b"""\
name = "esp32"

[[step]]
name = "identify"
timeout_s = 60

[[step]]
name = "flash"
timeout_s = 300
retries = 1

[[step]]
name = "keygen"
timeout_s = 180
retries = 1

[[step]]
name = "request"
timeout_s = 30

[[step]]
name = "sign"

[[step]]
name = "install"
timeout_s = 60

[[step]]
name = "configure"
timeout_s = 60

[[step]]
name = "seal"
timeout_s = 120
retries = 1

[[step]]
name = "first-boot"
timeout_s = 150
retries = 1

[[step]]
name = "verify"
challenge = true
timeout_s = 60

[[step]]
name = "stamp"
timeout_s = 30

[[step]]
name = "label"
timeout_s = 30
"""
