"""The full linter as a process: certificates in, findings out. `linting` starts it; nothing else does.

Standard input: JSON, an array of certificates, DER in base64. Standard output: JSON, an array of findings for
each of them: `{"severity", "code", "path", "message"}`.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

from pkilint import loader
from pkilint.pkix import certificate, extension, name
from pkilint.validation import ValidationFindingSeverity


def _validator() -> Any:
    return certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )


def _findings(validator: Any, der: bytes) -> list[dict[str, str]]:
    document = loader.RFC5280CertificateDocumentLoader().load_der_document(der, "certificate")
    return [
        {
            "severity": item.finding.severity.name,
            "code": item.finding.code,
            "path": result.node.path,
            "message": item.message or "",
        }
        for result in validator.validate(document.root)
        for item in result.finding_descriptions
        if item.finding.severity <= ValidationFindingSeverity.NOTICE
    ]


def main() -> None:
    """Reads standard input to its end."""
    validator = _validator()
    certificates = [base64.b64decode(text) for text in json.load(sys.stdin)]
    json.dump([_findings(validator, der) for der in certificates], sys.stdout)


if __name__ == "__main__":
    main()
