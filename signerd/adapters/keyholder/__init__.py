"""The key holder: a process of its own that holds the HSM session, and signerd's end of its line.

`guard` says what may be signed, `token` is the one module that loads PKCS#11, `process` is the program,
`client` starts, watches and replaces it. signerd itself never loads a PKCS#11 module.
"""
