"""The production file: what it holds, and how it is judged. Pure (docs/formats.md, "Production file")."""
