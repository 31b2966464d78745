"""Other machines as hosts: inventory, SSH, provisioning, facts; only `connection` knows Fabric."""
