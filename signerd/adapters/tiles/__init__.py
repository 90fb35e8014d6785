"""The log as tiles that other people's tools read (C2SP tlog-tiles): copies of what the database has.

The database decides. Tiles may lag behind the last signed checkpoint, and never lead: they are written once
the checkpoint stands in the second place. The file `checkpoint` tells readers of them, and comes last.
"""

from signerd.adapters.tiles.bucket import TilesBucket, open_bucket
from signerd.adapters.tiles.bucket_publication import BucketPublication, write_bucket_anew
from signerd.adapters.tiles.folder import TilesFolder
from signerd.adapters.tiles.publication import Counts, Publication
from signerd.adapters.tiles.publisher import BucketPublisher, TilePublisher

__all__ = [
    "BucketPublication",
    "BucketPublisher",
    "Counts",
    "Publication",
    "TilePublisher",
    "TilesBucket",
    "TilesFolder",
    "open_bucket",
    "write_bucket_anew",
]
