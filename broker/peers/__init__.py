"""How the brokers on one store find each other and follow each other's commits."""

from broker.peers.addresses import parse_peers
from broker.peers.mesh import Mesh

__all__ = ["Mesh", "parse_peers"]
