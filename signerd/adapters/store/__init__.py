"""signerd's durable state: certificate records, the registry and the ledger.

Write points, in the order of one issuance, and what a crash right after each means:

  1. place, serial number, intent (`issuing.take_place`): the intent stays. The same chip and key resume
     it, with the same bytes; start-up enters it in the ledger as open.
  2. certificate, `issued` entry, grant, head (`issuing.complete`): the certificate counts. Asking again
     gives it; start-up signs a checkpoint over its entry.
  3. checkpoint in the second place (`head_file.HeadFile.swap`): start-up publishes it.
  4. stamp, `stamped` entry, head (`stamping.record_stamp`): the stamp counts. The same stamp again is
     answered as before.

Administration (`registry`) and refusals (`SqlStore.append_refusals`) are written with their entries and
count once committed. Refusals still in memory are lost in a crash; nobody was given anything by them.

Before the commit of each, a crash leaves nothing of it, and nobody was told. All of them share commits
(`writer`); reads are snapshots of what is committed (`worker.Reader`).
"""

from signerd.adapters.store.log.checkpoint_keys import known_log_keys
from signerd.adapters.store.log.log_start import compare_database, write_tiles_anew, write_tiles_to_bucket
from signerd.adapters.store.log.runs import note_restored
from signerd.adapters.store.registry.issuers import known_issuers
from signerd.adapters.store.registry.operations_cas import Announcement, Step
from signerd.adapters.store.registry.registered import Registered
from signerd.adapters.store.registry.renewals import RenewalRequest
from signerd.adapters.store.sqlstore import SqlStore, open_log
from signerd.adapters.store.state.covered import committed_keys
from signerd.adapters.store.tables.database import check_database, create_database, sqlite_file
from signerd.adapters.store.tables.upgrading import demand_covered, upgrade_database
from signerd.adapters.store.verification.rebuild import CopyOfLog, Rebuilt, rebuild_database
from signerd.adapters.store.verification.verify import Verified, verify_database

__all__ = [
    "Announcement",
    "CopyOfLog",
    "Rebuilt",
    "Registered",
    "RenewalRequest",
    "SqlStore",
    "Step",
    "Verified",
    "check_database",
    "committed_keys",
    "compare_database",
    "create_database",
    "demand_covered",
    "known_issuers",
    "known_log_keys",
    "note_restored",
    "open_log",
    "rebuild_database",
    "sqlite_file",
    "upgrade_database",
    "verify_database",
    "write_tiles_anew",
    "write_tiles_to_bucket",
]
