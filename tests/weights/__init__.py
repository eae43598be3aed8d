"""What tests of weights have in common."""
import mxnet as mx
import numpy as np
from mxnet.gluon.model_zoo import vision


def zoo_network():
    """A VGG16 of the zoo with random weights.

    Returns
    -------
    convolutions : Block
        Its layers up to the last pooling.
    complete : callable
        Its weights by name, as arrays that take no memory for the dense layers: their values are their row's number
        (`complete(0)`) or their column's (`complete(1)`).
    """
    net = vision.VGG([2, 2, 3, 3, 3], [64, 128, 256, 512, 512], prefix='vgg0_')
    convolutions = net.features[:-4]
    convolutions.initialize(mx.init.Xavier(magnitude=3))
    convolutions(mx.nd.zeros((1, 3, 32, 32)))
    for parameter in convolutions.collect_params().values():
        parameter.set_data(parameter.data() + .01)
    source = {name: parameter.data().asnumpy() for name, parameter in convolutions.collect_params().items()}

    def dense(number, shape, axis):
        along = np.arange(shape[axis], dtype=np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
        return {f'vgg0_dense{number}_weight': np.broadcast_to(along, shape),
                f'vgg0_dense{number}_bias': np.arange(shape[0], dtype=np.float32)}

    def complete(axis):
        return dict(source, **dense(0, (4096, 25088), axis), **dense(1, (4096, 4096), axis))
    return convolutions, complete
