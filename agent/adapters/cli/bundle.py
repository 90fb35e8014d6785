"""`bundle`: firmware bundles, from the images of a build to the lines of the work order, for the company.

A bundle whose contents are wrong, or that the key did not sign, ends with code 1; a file that cannot be read
or written, and a key that is none, with code 3.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from agent.adapters.bundle_files import read_bounded, read_public_key
from agent.adapters.cli.options import JsonOption, print_result
from agent.adapters.durable_files import replace
from agent.core.bundle import MAX_BUNDLE_BYTES, MAX_IMAGE_BYTES, BundleError, Manifest, Role
from agent.core.bundle_build import MAX_DESCRIPTION_BYTES, build_bundle, parse_description
from agent.core.bundle_manifest import encode_manifest
from agent.core.bundle_verify import UnverifiedBundle, read_unverified, sign_bundle, verify_bundle
from agent.core.table_place import not_shown
from agent.core.toml_remedy import toml_remedy
from agent.errors import AgentError, ConfigError, Verdict

_MODE = 0o644  # nothing in a bundle is secret; the station keeps its own copy to itself
_MAX_KEY_BYTES = 65_536

bundle_app = typer.Typer(help="Firmware bundles: made, signed, verified, shown.", no_args_is_help=True)
BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle, a zip file.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replaces what is there.")]


@bundle_app.command()
def build(
    description: Annotated[Path, typer.Argument(metavar="TOML", help="As deploy/examples/bundle.toml.")],
    out: Annotated[Path, typer.Option("--out", help="The bundle to write.")],
    *,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Makes a bundle, not signed yet. Versions, digests and offsets come out of the images."""
    if out.exists() and not force:
        raise _exists(out)
    try:
        wanted = parse_description(read_bounded(description, MAX_DESCRIPTION_BYTES))
    except BundleError as error:
        mend = "Mend these keys: deploy/examples/bundle.toml shows them all."
        raise ConfigError(f"{description}: {error}", remedy=toml_remedy(error, mend)) from error
    base = description.parent
    images = {name: read_bounded(base / file, MAX_IMAGE_BYTES) for name, file in wanted.files.items()}
    pem = None if wanted.public_key is None else read_bounded(base / wanted.public_key, _MAX_KEY_BYTES)
    try:
        data = build_bundle(wanted, images, pem)
    except BundleError as error:
        raise _refused(description, error, "Mend the build of that image, or its entry there.") from error
    _write(out, data)
    read = read_unverified(data)
    digest, unseen = read.digest.hex(), not_shown(read.manifest, images)
    print_result(
        f"{out}: {len(images)} images, digest {digest}\n{_unseen(read.manifest, unseen)}"
        f"Sign it with:  birthmark-agent bundle sign {out} --key bundle-key.pem",
        {"bundle": str(out), "images": len(images), "digest": digest, "table_place_unseen": list(unseen)},
        as_json=as_json,
    )


def _unseen(manifest: Manifest, names: tuple[str, ...]) -> str:
    """What has to be looked at by a person: the code of these bootloaders does not say it."""
    table = manifest.image(Role.PARTITION_TABLE)
    if not names or table is None:
        return ""
    return (
        f"Not checked: where {' and '.join(names)} will look for the partition table. "
        f"CONFIG_PARTITION_TABLE_OFFSET of that build has to be {table.offset:#x}.\n"
    )


@bundle_app.command()
def sign(
    bundle: BundleArgument,
    key: Annotated[Path, typer.Option("--key", help="The company's Ed25519 private key, PEM.")],
    out: Annotated[Path | None, typer.Option("--out", help="Where to; else into BUNDLE itself.")] = None,
    *,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Signs a bundle. Asks for the key's passphrase where it has one."""
    to = out or bundle
    if to != bundle and to.exists() and not force:
        raise _exists(to)
    data = read_bounded(bundle, MAX_BUNDLE_BYTES)
    read = _read(bundle, data)
    if to == bundle and read.signed and not force:
        raise ConfigError(
            f"{bundle} is signed already",
            remedy="Give --force to replace its signature, or --out another file.",
        )
    private = _private_key(key)
    signed = sign_bundle(data, private)
    verify_bundle(signed, private.public_key())
    _write(to, signed)
    print_result(
        f"{to}: signed, digest {read.digest.hex()}\n"
        f"Lines for the work order:  birthmark-agent bundle show {to} --order",
        {"bundle": str(to), "digest": read.digest.hex()},
        as_json=as_json,
    )


@bundle_app.command()
def verify(
    bundle: BundleArgument,
    key: Annotated[Path, typer.Option("--key", help="The company's Ed25519 public key, PEM.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Verifies a bundle as a station does at its start, but for espsecure's check of the images."""
    public = read_public_key(key)
    data = read_bounded(bundle, MAX_BUNDLE_BYTES)
    try:
        verified, _ = verify_bundle(data, public)
    except BundleError as error:
        raise _refused(bundle, error, "Do not flash it; have it built or sent again.") from error
    manifest = verified.manifest
    named = {"product": manifest.product, "version": manifest.version, "chip": manifest.chip}
    print_result(
        "{bundle}: {product} {version} for {chip}, signed with this key, digest {digest}".format(
            bundle=bundle, digest=verified.digest.hex(), **named
        ),
        {"bundle": str(bundle), "digest": verified.digest.hex(), **named},
        as_json=as_json,
    )


@bundle_app.command()
def show(
    bundle: BundleArgument,
    *,
    as_json: JsonOption = False,
    order: Annotated[bool, typer.Option("--order", help="Lines for the work order file.")] = False,
) -> None:
    """Shows what is in a bundle. It is checked for form, and its signature is not verified."""
    if as_json and order:
        raise typer.BadParameter("give one of --json and --order")
    read = _read(bundle, read_bounded(bundle, MAX_BUNDLE_BYTES))
    if as_json:
        manifest = json.loads(encode_manifest(read.manifest))
        print(json.dumps({"digest": read.digest.hex(), "signed": read.signed, "manifest": manifest}))
    elif order:
        print(order_lines(read.manifest, read.digest))
        print(f"Verify it first:  birthmark-agent bundle verify {bundle} --key PUBLIC", file=sys.stderr)
    else:
        _print(read)


def order_lines(manifest: Manifest, digest: bytes) -> str:
    """The section `[bundle]` of a work order file. JSON's strings are TOML's basic strings."""
    lines = [
        "[bundle]",
        f'sha256 = "{digest.hex()}"',
        f"product = {json.dumps(manifest.product)}",
        f"chip = {json.dumps(manifest.chip)}",
    ]
    firmware = [
        f'{json.dumps(component)} = [{json.dumps(image.version)}, "{(image.digest or b"").hex()}"]'
        for component, image in sorted(manifest.final_firmware().items())
    ]
    if firmware:
        lines.append(f"firmware = {{ {', '.join(firmware)} }}")
    return "\n".join(lines)


def _print(read: UnverifiedBundle) -> None:
    manifest = read.manifest
    signed = "signed, by whom `bundle verify` says" if read.signed else "NOT SIGNED"
    print(f"{manifest.product} {manifest.version} for {manifest.chip}, flash {manifest.flash_size >> 20} MB")
    print(f"digest  {read.digest.hex()}  ({signed})")
    for image in manifest.images:
        version = "" if image.version is None else f"version {image.version}"
        component = "" if image.component is None else f"reported as {image.component}"
        print(f"  {image.offset:#010x} {image.size:>9}  {image.name:<20} {version:<18} {component}".rstrip())
    for component, least in sorted(manifest.minimum_versions.items()):
        print(f"minimum version  {component} {least}")
    if manifest.secure_boot is not None:
        print(f"secure boot key  {manifest.secure_boot.key_sha256.hex()}")
    for burn in manifest.burns:
        when = "after first boot" if burn.after_first_boot else "at seal"
        print(f"eFuse  {burn.name} = {burn.value} {when}")


def _read(path: Path, data: bytes) -> UnverifiedBundle:
    try:
        return read_unverified(data)
    except BundleError as error:
        raise _refused(path, error, "Build it again: birthmark-agent bundle build") from error


def _private_key(path: Path) -> Ed25519PrivateKey:
    pem = read_bounded(path, _MAX_KEY_BYTES)
    try:
        try:
            key = load_pem_private_key(pem, password=None)
        except TypeError:  # it is encrypted
            passphrase = typer.prompt(f"Passphrase of {path}", hide_input=True, err=True)
            key = load_pem_private_key(pem, password=str(passphrase).encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"{path} is not a private key in PEM, or the passphrase is wrong", remedy=_MAKE_KEY
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} is not an Ed25519 key", remedy=_MAKE_KEY)
    return key


_WRITABLE = "See that the folder exists, and that this user may write to it."
_MAKE_KEY = "Make one, in the company:  openssl genpkey -algorithm ed25519 -aes256 -out bundle-key.pem"


def _write(path: Path, data: bytes) -> None:
    try:
        replace(path, data, _MODE)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", remedy=_WRITABLE) from error


def _exists(path: Path) -> ConfigError:
    return ConfigError(f"{path} exists", remedy="Give --force to replace it, or another name.")


def _refused(path: Path, error: BundleError, remedy: str) -> AgentError:
    return AgentError("bundle", f"{path}: {error}", verdict=Verdict.STOP, remedy=remedy)
