"""The ESP32 family: ESP32, S2, S3, C3, C6, H2, P4. esptool flashes and locks them, in its own process."""
