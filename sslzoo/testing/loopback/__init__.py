"""A Hub on this machine, for tests and for the demo: the official client pushes to it and pulls from it.

It keeps everything in memory, listens on loopback addresses only, and needs nothing beyond the standard library
(PyYAML, which the client brings, reads model cards). Start it and set ``environment()`` before anything loads
``huggingface_hub.constants``: the client reads its endpoint once.

    with LoopbackHub() as hub:
        subprocess.run([...], env={**os.environ, **hub.environment(home)})
"""

from sslzoo.testing.loopback.server import LoopbackHub

__all__ = ["LoopbackHub"]
