"""The bundle's manifest: canonical JSON (RFC 8785) to `Manifest` and back.

`parse_manifest` takes the one encoding of a manifest whose members are all known and of their form. How the
images lie to each other is checked in `agent.core.bundle_checks`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.core.bundle import (
    MAX_IMAGE_BYTES,
    MAX_IMAGES,
    BundleError,
    Burn,
    Image,
    Manifest,
    Role,
    SecureBoot,
)
from agent.core.file_problems import problems

FORM = 1  # `v`
MAX_MANIFEST_BYTES = 65_536
_MAX_FLASH = 128 * 1024 * 1024  # bytes, esptool's largest
_MAX_COMPONENTS = 16  # of claims and stamps
_MAX_BURNS = 32
_MAX_PEM = 2_048  # characters: an RSA 3072 public key has 625

# Patterns are of the regex crate of Rust: `$` is the end, not the newline before it.
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Component = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,32}$")]
_Version = Annotated[str, Field(min_length=1, max_length=32)]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class _Object(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Image(_Object):
    name: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")]
    role: Literal[
        "bootloader", "secure-bootloader", "partition-table", "manufacturing", "application", "data"
    ]
    offset: Annotated[int, Field(ge=0, lt=_MAX_FLASH)]
    size: Annotated[int, Field(gt=0, le=MAX_IMAGE_BYTES)]
    sha256: _Sha256
    component: _Component | None
    version: _Version | None
    digest: _Sha256 | None


class _Burn(_Object):
    name: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,31}$")]
    value: Annotated[int, Field(gt=0, le=0xFFFF_FFFF)]
    when: Literal["seal", "first-boot"]


class _SecureBoot(_Object):
    key_sha256: _Sha256
    public_key_pem: Annotated[str, Field(max_length=_MAX_PEM)]


class _Manifest(_Object):
    v: Literal[1]
    product: _Name
    version: _Version
    chip: Annotated[str, Field(pattern=r"^[a-z0-9]{1,16}$")]
    flash_size: Annotated[int, Field(gt=0, le=_MAX_FLASH)]
    images: Annotated[list[_Image], Field(min_length=1, max_length=MAX_IMAGES)]
    minimum_versions: Annotated[dict[_Component, _Version], Field(max_length=_MAX_COMPONENTS)]
    secure_boot: _SecureBoot | None
    burns: Annotated[list[_Burn], Field(max_length=_MAX_BURNS)]


def parse_manifest(data: bytes) -> Manifest:
    """Reads a manifest.

    Raises:
        BundleError: for any bytes but the one encoding of a manifest.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise BundleError(f"manifest.json: larger than {MAX_MANIFEST_BYTES} bytes")
    try:
        document = json.loads(data.decode("utf-8"), parse_float=_refuse, parse_constant=_refuse)
        parsed = _Manifest.model_validate(document)
    except ValidationError as error:
        raise BundleError(f"manifest.json: {problems(error)[0]}") from error
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise BundleError("manifest.json: not JSON of the allowed kind") from error
    manifest = _manifest(parsed)
    # One encoding: no member twice, none in another order, no space, no other escape.
    if encode_manifest(manifest) != data:
        raise BundleError("manifest.json: not the canonical encoding (RFC 8785)")
    return manifest


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest's bytes. All names of members are ASCII, so Python's order of them is RFC 8785's.

    Raises:
        BundleError: a text that has no UTF-8.
    """
    try:
        text = json.dumps(_document(manifest), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BundleError("manifest.json: a text with half a surrogate pair") from error


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"a number of a kind that manifests do not have: {text[:16]}")


def _manifest(parsed: _Manifest) -> Manifest:
    given = parsed.secure_boot
    secure_boot = given and SecureBoot(bytes.fromhex(given.key_sha256), given.public_key_pem)
    return Manifest(
        product=parsed.product,
        version=parsed.version,
        chip=parsed.chip,
        flash_size=parsed.flash_size,
        images=tuple(_image(image) for image in parsed.images),
        minimum_versions=dict(parsed.minimum_versions),
        secure_boot=secure_boot or None,
        burns=tuple(Burn(burn.name, burn.value, burn.when == "first-boot") for burn in parsed.burns),
    )


def _image(image: _Image) -> Image:
    digest = None if image.digest is None else bytes.fromhex(image.digest)
    sha256 = bytes.fromhex(image.sha256)
    role = Role(image.role)
    return Image(image.name, role, image.offset, image.size, sha256, image.component, image.version, digest)


def _document(manifest: Manifest) -> dict[str, Any]:
    secure_boot = manifest.secure_boot
    return {
        "v": FORM,
        "product": manifest.product,
        "version": manifest.version,
        "chip": manifest.chip,
        "flash_size": manifest.flash_size,
        "images": [
            {
                "name": image.name,
                "role": image.role.value,
                "offset": image.offset,
                "size": image.size,
                "sha256": image.sha256.hex(),
                "component": image.component,
                "version": image.version,
                "digest": None if image.digest is None else image.digest.hex(),
            }
            for image in manifest.images
        ],
        "minimum_versions": dict(manifest.minimum_versions),
        "secure_boot": secure_boot
        and {"key_sha256": secure_boot.key_sha256.hex(), "public_key_pem": secure_boot.public_key_pem},
        "burns": [
            {
                "name": burn.name,
                "value": burn.value,
                "when": "first-boot" if burn.after_first_boot else "seal",
            }
            for burn in manifest.burns
        ],
    }
