"""The former name of `jaxadv.networks`."""

from jaxadv.networks import *  # noqa: F403
