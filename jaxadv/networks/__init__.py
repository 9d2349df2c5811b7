"""Networks as pure functions of plain-dict parameters."""

from jaxadv.networks.alexnet import from_torchvision, torchvision_alexnet
from jaxadv.networks.efficientnet import efficientnet_lite, pretrained_efficientnet_lite
from jaxadv.networks.evaluate import error_rate, predictions
from jaxadv.networks.inverted_residual import InvertedResidual
from jaxadv.networks.layers import Convolution, FullyConnected, GlobalAverage, Standardise
from jaxadv.networks.lipschitz import layer_bounds, lipschitz_bound
from jaxadv.networks.local import L2Pool, LocalContrast, LocallyConnected
from jaxadv.networks.mnist import autoencoder, autoencoder_classifier, cnn, lenet, mlp
from jaxadv.networks.network import Network, Params

__all__ = [
    "Convolution",
    "FullyConnected",
    "GlobalAverage",
    "InvertedResidual",
    "L2Pool",
    "LocalContrast",
    "LocallyConnected",
    "Network",
    "Params",
    "Standardise",
    "autoencoder",
    "autoencoder_classifier",
    "cnn",
    "efficientnet_lite",
    "error_rate",
    "from_torchvision",
    "layer_bounds",
    "lenet",
    "lipschitz_bound",
    "mlp",
    "predictions",
    "pretrained_efficientnet_lite",
    "torchvision_alexnet",
]
