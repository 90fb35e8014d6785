"""A key holder that is a service of its own: own user, PIN, certificates, limits, administrators, and notes.

signerd has a socket of it and nothing else. What it signs is what administrators approved, and it looks for
itself (docs/key-holder.md):

    settings   its file
    notes      what it signed, durable before it signs
    approved   which orders, products and administrators count
    server     the socket
    daemon     `signerd key-holder run`
    taking_over  makes one of an installation whose keys signerd held itself
"""
