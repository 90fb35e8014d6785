"""`README.txt` of a production file: how to verify it in ten years, without any program of ours."""

from __future__ import annotations

_TEXT = """\
PRODUCTION FILE{about}

This archive shows which certificates a company's signing service issued to boards on a factory line. You
can verify it without the programs that made it. You need sha256sum, openssl 3 and Python 3, and two things
that you take from the company and not from this archive:

  - the log's verifier key: one line, "name+key id+base64". log.vkey has it too, to compare.
  - the SHA-256 of the root certificate of the boards, to compare with the last step.

report.html is the page to read. Open questions stand in it. It is the word of whoever made the archive, as
are this text and findings.jsonl. The log signs the entries, and all that they have digests of.

Where the log's name ends in /successor-2 or the like, the log lost its end, and an entry `log_succeeded` says
what. Take the verifier key of this name then. The company's key of before has the same text after its last +.

WHAT IS IN IT

  checkpoint      the signed head of the log (C2SP tlog-checkpoint, a signed note)
  log.vkey        the verifier keys of the log that sign at this size
  entries.jsonl   a line for each entry shown: {{"index":N,"entry":...}}. The bytes after "entry": and before
                  the last brace are the entry as it stands in the log: canonical JSON (RFC 8785)
  subtrees.txt    "first count hash": the hash over `count` entries from `first` on that are not shown
  records.jsonl   a line for each certificate, by the index of its `issued` entry, all in base64:
                  certificate (DER), csr (DER), claims, evidence, settings, stamp (CBOR), stamp_signature,
                  attester (public key, DER)
  issuers.pem     the certificates above the boards' ones, up to the root
  products/       the product files that the orders name, by SHA-256
  crls/           revocation lists, by SHA-256
  findings.jsonl  what the auditor found, and what was said of it
  manifest.json   what the archive is about, and the SHA-256 of each file before it

STEP 1. The files are those of the manifest.

  python3 - <<'END'
  import json, hashlib
  for f in json.load(open("manifest.json"))["files"]:
      assert hashlib.sha256(open(f["name"], "rb").read()).hexdigest() == f["sha256"], f["name"]
  END

STEP 2. The log's key signed the checkpoint: Ed25519 over the text, with the newline before the empty line.

  python3 - 'PASTE THE VERIFIER KEY HERE' <<'END'
  import base64, sys
  name, _, key = sys.argv[1].split("+", 2)
  text, _, lines = open("checkpoint", "rb").read().rpartition(b"\\n\\n")
  open("signed", "wb").write(text + b"\\n")
  for line in lines.decode().splitlines():
      if line.startswith("\\u2014 " + name + " "):
          open("signature", "wb").write(base64.b64decode(line.split(" ")[2])[4:])
          break
  der = bytes.fromhex("302a300506032b6570032100") + base64.b64decode(key)[1:]
  open("key.der", "wb").write(der)
  END
  openssl pkeyutl -verify -pubin -inkey key.der -keyform DER -rawin -in signed -sigfile signature

STEP 3. The entries are those of the log: with the hashes of what is not shown they give the root that was
signed (RFC 6962, section 2.1).

  python3 - <<'END'
  import base64, hashlib
  H = lambda data: hashlib.sha256(data).digest()
  _, size, root = open("checkpoint", encoding="utf-8").read().split("\\n")[:3]
  parts = []
  for line in open("entries.jsonl", "rb"):
      head, entry = line[:-2].split(b',"entry":', 1)
      parts.append((int(head[len(b'{{"index":'):]), 1, H(b"\\0" + entry)))
  for line in open("subtrees.txt"):
      first, count, digest = line.split()
      parts.append((int(first), int(count), bytes.fromhex(digest)))
  stack, at = [], 0
  for first, count, digest in sorted(parts):
      assert first == at, "entries are missing or there twice"
      at += count
      while stack and stack[-1][0] == count:
          digest, count = H(b"\\1" + stack.pop()[1] + digest), 2 * count
      stack.append((count, digest))
  while len(stack) > 1:
      (_, right), (_, left) = stack.pop(), stack.pop()
      stack.append((0, H(b"\\1" + left + right)))
  assert at == int(size) and stack[0][1] == base64.b64decode(root), "not the tree that was signed"
  print("all", at, "entries are accounted for")
  END

STEP 4. Each certificate is the one that its entry names, and no place is left out: in the `issued` entries
of an order they (`number`) go from 1 upward without a gap. Of each line of records.jsonl:

  SHA-256 of certificate, csr, evidence, settings   certificate_sha256, csr_sha256, evidence_sha256,
                                                    settings_sha256 of the `issued` entry of this index
  SHA-256 of attester, where it is not empty        attester_sha256 of the same
  SHA-256 of stamp                                  stamp_sha256 of the `stamped` entry of this certificate

  python3 - <<'END'
  import base64, hashlib, json
  issued, stamped, places = {{}}, {{}}, set()
  for line in open("entries.jsonl"):
      line = json.loads(line)
      entry = line["entry"]
      if entry["type"] == "issued":
          issued[line["index"]] = entry
      if entry["type"] == "stamped":
          stamped[entry["certificate_sha256"]] = entry["stamp_sha256"]
  for line in open("records.jsonl"):
      line = json.loads(line)
      entry = issued[line["index"]]
      sha = {{k: hashlib.sha256(base64.b64decode(v)).hexdigest() for k, v in line.items() if k != "index"}}
      for name in ("certificate", "csr", "evidence", "settings"):
          assert sha[name] == entry[name + "_sha256"], (line["index"], name)
      if line["stamp"]:
          assert sha["stamp"] == stamped[entry["certificate_sha256"]], line["index"]
      places.add((entry["work_order"], entry["number"]))
      open("board-%d.der" % line["index"], "wb").write(base64.b64decode(line["certificate"]))
  for order in {{order for order, _ in places}}:
      numbers = sorted(number for name, number in places if name == order)
      print(order, "has", len(numbers), "boards, places", numbers[0], "to", numbers[-1])
  END

STEP 5. A board's certificate was signed by the company's CA. Write the last certificate of issuers.pem, which
is the root, to root.pem, compare its SHA-256 with the company's, and choose a board-N.der:

  openssl x509 -in root.pem -outform DER | sha256sum
  openssl verify -CAfile root.pem -untrusted issuers.pem -no_check_time board-N.der

STEP 6. The stamp of a board: write `stamp` and `stamp_signature` of its line to files, decoded, and

  openssl x509 -in board-N.der -pubkey -noout > board.pub
  openssl dgst -sha256 -verify board.pub -signature stamp_signature stamp       (-sha384 for a key on P-384)

The evidence of a board, and every other member, are described in docs/formats.md of the project, Birthmark.
"""


def readme_text(order: str | None) -> str:
    """The text."""
    return _TEXT.format(about="" if order is None else f" OF ORDER {order}")
