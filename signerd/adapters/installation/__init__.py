"""`signerd init`: makes an installation. Nothing else ever makes keys, databases or configurations.

create_dev(Path("var/dev"), deployment="dev", listen="127.0.0.1:0")     # with SoftHSM, complete

create(directory, module=…, token=…, pin_source=…, deployment=…)        # in a real HSM: keys and a CSR,
install_certificate(directory, certificate=…, root=…)                   # then what the root made of it
"""

from signerd.adapters.installation.chain_files import Arranged
from signerd.adapters.installation.development import create_dev
from signerd.adapters.installation.places import Wishes
from signerd.adapters.installation.production import create, install_certificate

__all__ = ["Arranged", "Wishes", "create", "create_dev", "install_certificate"]
