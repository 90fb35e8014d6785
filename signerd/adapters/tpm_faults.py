"""What a TPM's refusals mean for who runs signerd: each with its remedy, and whether it may pass."""

from __future__ import annotations

from signerd.errors import ConfigError, NotNow

_SEAL_ANEW = "seal the PIN anew: signerd pin seal --replace"
_RESTORE = f"what is sealed was altered, or another TPM sealed it: restore the backup's file, or {_SEAL_ANEW}"
_MANAGER = "go through a resource manager, such as device:/dev/tpmrm0"
_NO_KEYS = f"the TPM has no room for another key: {_MANAGER}"
_NO_SESSIONS = f"the TPM has no room for another session: {_MANAGER}"
_BUSY = "the TPM is busy: another program keeps it so"
_DISABLED = "the TPM's owner hierarchy is disabled: enable it in the firmware's settings"
_AUTHORISATION = (
    "the TPM's owner hierarchy, or its storage key 0x81000001, wants an authorisation value. Have the TPM's"
    " owner make a storage key that wants none, with these two: tpm2_createprimary -C o -P VALUE -G ecc -c"
    " srk.ctx -a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt';"
    " tpm2_evictcontrol -C o -P VALUE -c srk.ctx 0x81000001"
)

# TPM 2.0 Part 2, section 6.6.3, without handle, parameter and session.
_LAYERS_OF_THE_TPM = (0, 0xB_0000, 0xC_0000)  # its own codes, and those that resource managers hand on
_FORMAT_1 = 0x80  # there are such numbers in it
_NUMBERS = 0xF40
_PASSING = {
    0x100: "the TPM was not started (TPM2_Startup): the firmware or the driver does it, at a boot",
    0x128: "the PCRs changed while they were looked at",
    0x902: _NO_KEYS,
    0x903: _NO_SESSIONS,
    0x904: _NO_KEYS,
    0x905: _NO_SESSIONS,
    0x908: _BUSY,
    0x909: _BUSY,
    0x90A: "the TPM is testing itself",
    0x921: "the TPM is locked out, after somebody's wrong authorisations: wait for its recovery time, or have"
    " its owner run tpm2_dictionarylockout --clear-lockout",
    0x922: _BUSY,
}
_LASTING = {
    0x101: "the TPM failed its own test: switch the machine off and on; if that does not help, it is broken",
    0x120: _DISABLED,
    0x85: _DISABLED,
    0x8E: _AUTHORISATION,
    0xA2: _AUTHORISATION,
    0x9D: "the PCRs to which the PIN is sealed no longer have the values of then. If the change of firmware"
    f" or of Secure Boot was yours, {_SEAL_ANEW}",
    # Attributes, value, type, size, insufficient, integrity, reserved bits, binding.
    **dict.fromkeys((0x82, 0x84, 0x8A, 0x95, 0x9A, 0x9F, 0xA1, 0xA5), _RESTORE),
}
_STOPPED = {
    "other-tpm": "this is not the TPM that sealed the PIN, or it was cleared since. The file opens on the"
    f" machine where it was made, and nowhere else. If this is to be its machine, {_SEAL_ANEW}",
    "altered": _RESTORE,
    "no-storage-key": "the TPM's key 0x81000001 is no storage key (fixedTPM, restricted, decrypt): have the"
    " TPM's owner put one there, or take it away",
    "no-sha256-pcrs": "the TPM has no such PCRs in its bank of SHA-256: seal without --pcr, or have the bank"
    " allocated in the firmware's settings",
}


def fault_of(tcti: str, code: int, text: str) -> ConfigError:
    """The error for a return code of the TSS; `text` is the TSS' own for it. NotNow if it may pass."""
    layer, number = code & ~0xFFFF, code & 0xFFFF
    if layer not in _LAYERS_OF_THE_TPM:
        remedy = "see that it is there, and that signerd may use it"
        return NotNow(f"cannot reach the TPM at {tcti}: {text}; {remedy}")
    if number & _FORMAT_1:
        number &= ~_NUMBERS
    if number in _PASSING:
        return NotNow(f"{tcti}: {_PASSING[number]} ({text})")
    said = _LASTING.get(number, "the TPM refuses; tpm2_getcap properties-variable says what state it is in")
    return ConfigError(f"{tcti}: {said} ({text})")


def stopped(tcti: str, why: str) -> ConfigError:
    """The error for what `tpm_process` saw before the TPM refused anything."""
    return ConfigError(f"{tcti}: {_STOPPED[why]}")
