"""What every weight of every Keras layer is; fans against a count of what is connected."""

import itertools

import numpy as np
import pytest
from keras import layers, ops

from keras_initlab.model_init.places import placed_weights
from keras_initlab.model_init.roles import KINDS, Role, own_weights, register_roles

SEQUENCE, IMAGE = (None, 6, 4), (None, 7, 7, 4)
VOLUME = (None, 5, 5, 5, 2)

# A layer of each class that has weights, the shape it is built for, and the kind of each weight, in order.
WEIGHTED = {
    "Dense": (lambda: layers.Dense(3), (None, 4), "kernel bias"),
    "EinsumDense": (lambda: layers.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d"), SEQUENCE, "kernel bias"),
    "Embedding": (lambda: layers.Embedding(9, 3), (None, 5), "embedding"),
    "ReversibleEmbedding": (lambda: layers.ReversibleEmbedding(9, 3, tie_weights=False), (None, 5), "embedding kernel"),
    "Conv1D": (lambda: layers.Conv1D(4, 3), SEQUENCE, "kernel bias"),
    "Conv2D": (lambda: layers.Conv2D(4, 3), IMAGE, "kernel bias"),
    "Conv3D": (lambda: layers.Conv3D(4, 3), VOLUME, "kernel bias"),
    "Conv1DTranspose": (lambda: layers.Conv1DTranspose(3, 3), SEQUENCE, "kernel bias"),
    "Conv2DTranspose": (lambda: layers.Conv2DTranspose(3, 3), IMAGE, "kernel bias"),
    "Conv3DTranspose": (lambda: layers.Conv3DTranspose(3, 3), VOLUME, "kernel bias"),
    "DepthwiseConv1D": (lambda: layers.DepthwiseConv1D(3), SEQUENCE, "kernel bias"),
    "DepthwiseConv2D": (lambda: layers.DepthwiseConv2D(3), IMAGE, "kernel bias"),
    "SeparableConv1D": (lambda: layers.SeparableConv1D(3, 3), SEQUENCE, "kernel kernel bias"),
    "SeparableConv2D": (lambda: layers.SeparableConv2D(3, 3), IMAGE, "kernel kernel bias"),
    "SimpleRNN": (lambda: layers.SimpleRNN(3), SEQUENCE, "kernel recurrent_kernel bias"),
    "SimpleRNNCell": (lambda: layers.SimpleRNNCell(3), (None, 4), "kernel recurrent_kernel bias"),
    "LSTM": (lambda: layers.LSTM(3), SEQUENCE, "kernel recurrent_kernel bias"),
    "LSTMCell": (lambda: layers.LSTMCell(3), (None, 4), "kernel recurrent_kernel bias"),
    "GRU": (lambda: layers.GRU(3), SEQUENCE, "kernel recurrent_kernel bias"),
    "GRUCell": (lambda: layers.GRUCell(3), (None, 4), "kernel recurrent_kernel bias"),
    "ConvLSTM1D": (lambda: layers.ConvLSTM1D(3, 3), (None, 2, 6, 4), "kernel recurrent_kernel bias"),
    "ConvLSTM2D": (lambda: layers.ConvLSTM2D(3, 3), (None, 2, 6, 6, 4), "kernel recurrent_kernel bias"),
    "ConvLSTM3D": (lambda: layers.ConvLSTM3D(3, 3), (None, 2, 5, 5, 5, 2), "kernel recurrent_kernel bias"),
    "RNN": (lambda: layers.RNN(layers.GRUCell(3)), SEQUENCE, "kernel recurrent_kernel bias"),
    "StackedRNNCells": (
        lambda: layers.StackedRNNCells([layers.GRUCell(3), layers.LSTMCell(2)]),
        (None, 4),
        "kernel recurrent_kernel bias kernel recurrent_kernel bias",
    ),
    "Bidirectional": (
        lambda: layers.Bidirectional(layers.SimpleRNN(3)),
        SEQUENCE,
        "kernel recurrent_kernel bias kernel recurrent_kernel bias",
    ),
    "TimeDistributed": (lambda: layers.TimeDistributed(layers.Dense(3)), SEQUENCE, "kernel bias"),
    "Wrapper": (lambda: layers.Wrapper(layers.Dense(3)), (None, 4), "kernel bias"),
    "SpectralNormalization": (lambda: layers.SpectralNormalization(layers.Dense(3)), (None, 4), "state kernel bias"),
    "BatchNormalization": (
        lambda: layers.BatchNormalization(),
        (None, 4),
        "scale offset moving_statistic moving_statistic",
    ),
    "LayerNormalization": (lambda: layers.LayerNormalization(), (None, 4), "scale offset"),
    "GroupNormalization": (lambda: layers.GroupNormalization(2), (None, 4), "scale offset"),
    "RMSNormalization": (lambda: layers.RMSNormalization(), (None, 4), "scale"),
    "Normalization": (lambda: layers.Normalization(), (None, 4), "fixed fixed fixed"),
    "PReLU": (lambda: layers.PReLU(), (None, 4), "slope"),
    "Attention": (
        lambda: layers.Attention(use_scale=True, score_mode="concat"),
        [SEQUENCE, SEQUENCE],
        "scale scale",
    ),
    "AdditiveAttention": (lambda: layers.AdditiveAttention(), [SEQUENCE, SEQUENCE], "kernel"),
    "MultiHeadAttention": (
        lambda: layers.MultiHeadAttention(2, 3),
        (SEQUENCE, SEQUENCE),
        "kernel bias kernel bias kernel bias kernel bias",
    ),
    "GroupedQueryAttention": (
        lambda: layers.GroupQueryAttention(3, 4, 2),
        (SEQUENCE, SEQUENCE),
        "kernel bias kernel bias kernel bias kernel bias",
    ),
    "STFTSpectrogram": (lambda: layers.STFTSpectrogram(), (None, 600, 1), "fixed fixed"),
}

# Their weights are another library's.
FOREIGN = {"JaxLayer", "FlaxLayer", "TorchModuleWrapper", "TFSMLayer"}
# Names of two classes that others build on, or that are no layers.
BASES = {"Layer", "InputSpec"}
# They compute with their input alone: activations, sums and products, reshaping, pooling, noise, augmentation of
# images, look-up of words and numbers (their tables are no variables), code of the user's own.
_NAMES = """
    Activation ELU LeakyReLU ReLU Softmax Identity Lambda InputLayer Masking ActivityRegularization Pipeline
    Add Average Concatenate Dot Maximum Minimum Multiply Subtract UnitNormalization Rescaling
    Flatten Permute RepeatVector Reshape Cropping1D Cropping2D Cropping3D UpSampling1D UpSampling2D UpSampling3D
    ZeroPadding1D ZeroPadding2D ZeroPadding3D Resizing CenterCrop MaxNumBoundingBoxes MelSpectrogram
    AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D AdaptiveMaxPooling1D
    AdaptiveMaxPooling2D AdaptiveMaxPooling3D AveragePooling1D AveragePooling2D AveragePooling3D MaxPooling1D
    MaxPooling2D MaxPooling3D GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D
    GlobalMaxPooling2D GlobalMaxPooling3D
    AlphaDropout Dropout GaussianDropout GaussianNoise SpatialDropout1D SpatialDropout2D SpatialDropout3D
    AugMix AutoContrast ContrastLimitedAdaptiveHistogramEqualization CutMix Equalization MixUp RandAugment
    RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop RandomElasticTransform
    RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue RandomInvert RandomPerspective
    RandomPosterization RandomRotation RandomSaturation RandomSharpness RandomShear RandomTranslation RandomZoom
    Solarization
    CategoryEncoding Discretization HashedCrossing Hashing IntegerLookup StringLookup TextVectorization
"""
WITHOUT_WEIGHTS = set(_NAMES.split())


def built(name):
    make, shape, _ = WEIGHTED[name]
    layer = make()
    layer.build(*shape) if isinstance(shape, tuple) and isinstance(shape[0], tuple) else layer.build(shape)
    return layer


def test_every_layer_of_keras_is_in_the_table_or_named_as_without_weights():
    """A class that a later Keras brings fails here until it is put in its place."""
    classes = {cls.__name__ for cls in vars(layers).values() if isinstance(cls, type)}
    assert classes == set(WEIGHTED) | WITHOUT_WEIGHTS | FOREIGN | BASES
    assert not set(WEIGHTED) & WITHOUT_WEIGHTS


ARGUMENTS = {
    "Activation": ("relu",), "Lambda": (lambda x: x,), "Permute": ((2, 1),), "RepeatVector": (2,), "Reshape": ((4, 6),),
    "Rescaling": (0.5,), "AlphaDropout": (0.1,), "Dropout": (0.1,), "GaussianDropout": (0.1,), "GaussianNoise": (0.1,),
    "SpatialDropout1D": (0.1,), "SpatialDropout2D": (0.1,), "SpatialDropout3D": (0.1,), "Dot": (1,),
    "CategoryEncoding": (3,), "Discretization": ((0.0, 1.0),), "InputLayer": ((4,),),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(WITHOUT_WEIGHTS))
def test_layers_without_weights_make_none(name):
    """Built where their class asks for no more than a table of arguments has; by their source for the rest."""
    cls = getattr(layers, name)
    try:
        layer = cls(*ARGUMENTS.get(name, ()))
    except TypeError:  # takes arguments of its own
        layer = None
    if layer is not None:
        for shape in (SEQUENCE, IMAGE, VOLUME, [SEQUENCE, SEQUENCE]):
            try:
                layer.build(shape)
                break
            except (ValueError, TypeError, AttributeError, IndexError):
                continue
        assert layer.weights == []
    assert "add_weight" not in cls.build.__code__.co_names


@pytest.mark.parametrize("name", list(WEIGHTED))
def test_every_weight_has_its_role(name):
    found = placed_weights(built(name))
    assert [weight.role.kind for weight in found] == WEIGHTED[name][2].split()
    assert not any(weight.role.note for weight in found)
    # Each can be drawn again by its layer's own law, but for what data or formulas made.
    assert all(weight.initializer is not None for weight in found if weight.role.kind != "fixed")
    assert all(weight.role.kind in KINDS for weight in found)


@pytest.mark.parametrize("name", ["Conv2D", "SeparableConv2D", "LSTM", "BatchNormalization", "Embedding"])
def test_the_initializers_are_those_of_the_layer(name):
    layer = built(name)
    for weight in placed_weights(layer):
        owner = weight.layer
        attribute = (
            weight.name.replace("_kernel", "")
            if "wise" in weight.name
            else weight.name.replace("recurrent_kernel", "recurrent")
        )
        assert weight.initializer is getattr(owner, f"{attribute}_initializer")


# -- fans: how many inputs feed an output, counted --------------------------------------------------------------------


def connections(layer, shape):
    """Matrix of which input feeds which output: every weight 1, one input 1 after the other."""
    for weight in layer.weights:
        weight.assign(ops.zeros_like(weight) if "bias" in weight.name else ops.ones_like(weight))
    size = int(np.prod(shape))
    images = layer(np.eye(size, dtype="float32").reshape(size, *shape))
    return ops.convert_to_numpy(images).reshape(size, -1) != 0


def counted(layer, shape):
    """Inputs of one output and outputs of one input, the mean over those in the interior: the ones with most."""
    connected = connections(layer, shape)
    return connected.sum(0), connected.sum(1)


def fans_of(layer, name="kernel"):
    weight = next(weight for weight in placed_weights(layer) if weight.name == name)
    return weight.role.fans(tuple(weight.variable.shape))


@pytest.mark.parametrize(
    ("equation", "output", "shape"),
    [
        ("ab,bc->ac", (5,), (4,)),
        ("abc,cd->abd", (None, 5), (3, 4)),
        ("abc,bcd->ad", (5,), (3, 4)),
        ("bnd,ndf->bnf", (3, 5), (3, 4)),
        ("bnd,dnf->bnf", (3, 5), (3, 4)),
        ("...x,xy->...y", (5,), (4,)),
        ("...nx,nxy->...ny", (3, 5), (3, 4)),
        ("abnd,nde->abe", (None, 5), (2, 3, 4)),
    ],
)
def test_fans_of_einsum_equations(equation, output, shape):
    layer = layers.EinsumDense(equation, output)
    layer.build((None, *shape))
    into, out = counted(layer, shape)
    assert {*into} == {fans_of(layer)[0]}
    assert {*out} == {fans_of(layer)[1]}


@pytest.mark.parametrize("units", [1, 5])
def test_fans_of_dense(units):
    layer = layers.Dense(units)
    layer.build((None, 4))
    into, out = counted(layer, (4,))
    assert ({*into}, {*out}) == ({4}, {units}) == ({fans_of(layer)[0]}, {fans_of(layer)[1]})


def interior(counts, channels, rank, period):
    """Mean count over one period of strides in the middle of the positions."""
    size = round((len(counts) / channels) ** (1 / rank))
    start = size // 2 - period // 2
    middle = counts.reshape(*(size,) * rank, channels)[(slice(start, start + period),) * rank]
    return middle.mean()


CONVOLUTIONS = [
    (cls, rank, options)
    for rank, names in ((1, ["Conv1D"]), (2, ["Conv2D"]), (3, ["Conv3D"]))
    for cls in names
    for options in ({}, {"groups": 2}, {"strides": 2}, {"groups": 2, "strides": 2}, {"strides": 3})
    if rank < 3 or len(options) < 2
]
CONVOLUTIONS += [(f"Conv{rank}DTranspose", rank, {"strides": stride}) for rank in (1, 2) for stride in (1, 2, 3)]
CONVOLUTIONS += [
    (f"DepthwiseConv{rank}D", rank, {"depth_multiplier": multiplier, "strides": stride})
    for rank, multiplier, stride in itertools.product((1, 2), (1, 3), (1, 2))
]


@pytest.mark.parametrize(("name", "rank", "options"), CONVOLUTIONS)
def test_fans_of_convolutions(name, rank, options):
    """Inputs that feed an output in the interior, and outputs that an input feeds: the mean over a stride's period."""
    filters, channels, size = 4, 2, 13 if rank < 3 else 9
    depthwise = "Depthwise" in name
    layer = getattr(layers, name)(*(() if depthwise else (filters,)), 3, use_bias=False, **options)
    layer.build((None, *(size,) * rank, channels))
    into, out = counted(layer, (*(size,) * rank, channels))
    stride = options.get("strides", 1)
    transposed = "Transpose" in name
    outputs = channels * options["depth_multiplier"] if depthwise else filters
    fan_in, fan_out = fans_of(layer)
    assert interior(into, outputs, rank, stride if transposed else 1) == pytest.approx(fan_in)
    assert interior(out, channels, rank, 1 if transposed else stride) == pytest.approx(fan_out)


def test_fans_of_separable_convolutions_are_those_of_their_parts():
    layer = layers.SeparableConv2D(5, 3, depth_multiplier=2, strides=2)
    layer.build(IMAGE)
    depthwise = layers.DepthwiseConv2D(3, depth_multiplier=2, strides=2)
    depthwise.build(IMAGE)
    assert fans_of(layer, "depthwise_kernel") == fans_of(depthwise)
    assert fans_of(layer, "pointwise_kernel") == (8, 5)


@pytest.mark.parametrize(("name", "gates"), [("SimpleRNN", 1), ("LSTM", 4), ("GRU", 3)])
def test_fans_of_one_gate(name, gates):
    layer = getattr(layers, name)(5)
    layer.build(SEQUENCE)
    assert tuple(layer.cell.kernel.shape) == (4, 5 * gates)
    assert fans_of(layer) == (4, 5)
    assert fans_of(layer, "recurrent_kernel") == (5, 5)


def test_fans_of_a_convolutional_lstm_are_those_of_a_convolution():
    layer, plain = layers.ConvLSTM2D(5, 3, strides=2), layers.Conv2D(5, 3, strides=2)
    layer.build((None, 2, 9, 9, 4))
    plain.build((None, 9, 9, 4))
    assert fans_of(layer) == fans_of(plain)
    assert fans_of(layer, "recurrent_kernel") == (3 * 3 * 5, 3 * 3 * 5)


@pytest.mark.parametrize(("name", "heads", "size"), [("MultiHeadAttention", 2, 3), ("GroupedQueryAttention", 4, 3)])
def test_fans_of_attention(name, heads, size):
    layer = built(name)
    found = {w.layer_place: w.role.fans(tuple(w.variable.shape)) for w in placed_weights(layer) if w.name == "kernel"}
    assert found["query"] == (4, heads * size)
    assert found["key"] == found["value"] == (4, 2 * size)
    assert found["attention_output"] == (heads * size, 4)


def test_fans_of_embeddings_and_of_what_has_none():
    assert fans_of(built("Embedding"), "embeddings") == (3, 3)
    assert fans_of(built("Dense"), "bias") is None
    assert fans_of(built("BatchNormalization"), "gamma") is None


# -- layers of one's own ----------------------------------------------------------------------------------------------


class Own(layers.Layer):
    def build(self, shape):
        self.matrix = self.add_weight(shape=(shape[-1], 3), name="matrix")
        self.vector = self.add_weight(shape=(3,), name="vector")
        self.count = self.add_weight(shape=(), dtype="int32", trainable=False, initializer="zeros", name="count")


def roles(layer, shape=(None, 4)):
    layer.build(shape)
    return {weight.name: weight.role for weight in own_weights(layer)}


class TestOwn:
    def test_by_shape_with_a_note(self):
        found = roles(Own())
        assert {name: role.kind for name, role in found.items()} == {
            "matrix": "kernel",
            "vector": "unknown",
            "count": "fixed",
        }
        assert found["matrix"].note == "Own is in no table of roles: axes guessed from the shape"
        assert found["vector"].note == "Own is in no table of roles"
        assert found["count"].note == "left alone: it holds no floats"

    def test_by_a_method(self):
        class Says(Own):
            def keras_initlab_roles(self):
                return {"matrix": Role("kernel", (1,), (0,)), "vector": Role("scale")}

        found = roles(Says())
        assert found["matrix"].fans((4, 3)) == (3, 4)
        assert found["vector"] == Role("scale")
        assert found["count"].kind == "fixed"

    def test_by_a_registered_function_and_subclasses_too(self):
        class Registered(Own):
            pass

        class Child(Registered):
            pass

        class Method(Child):
            def keras_initlab_roles(self):
                return {"vector": Role("slope")}

        @register_roles(Registered)
        def function(layer):
            return {"vector": Role("offset", note=type(layer).__name__)}

        assert function is not None
        assert roles(Registered())["vector"] == Role("offset", note="Registered")
        assert roles(Child())["vector"] == Role("offset", note="Child")
        assert roles(Method())["vector"] == Role("slope")

    def test_a_subclass_of_a_keras_layer_has_its_roles(self):
        class Mine(layers.Dense):
            pass

        assert roles(Mine(3)) == roles(layers.Dense(3))

    def test_an_unknown_kind(self):
        with pytest.raises(
            ValueError, match=r"`kind` must be one of kernel, .*Received: kind='nonsense'\. A weight that"
        ):
            Role("nonsense")


ADAPTABLE = {
    "Dense": (lambda: layers.Dense(8), (None, 8)),
    "EinsumDense": (lambda: layers.EinsumDense("abc,cd->abd", (None, 8)), (None, 3, 8)),
    "Embedding": (lambda: layers.Embedding(8, 8), (None, 3)),
}


class TestAdapted:
    @pytest.mark.parametrize("name", list(ADAPTABLE))
    @pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
    def test_quantized(self, name, mode):
        make, shape = ADAPTABLE[name]
        layer = make()
        layer.build(shape)
        if (name, mode) == ("Embedding", "float8"):
            pytest.skip("Keras has no float8 embedding")
        layer.quantize(mode)
        found = own_weights(layer)
        assert {weight.role.kind for weight in found} == {"adapted"}
        assert {weight.role.note for weight in found} == {"left alone: the layer is quantized"}
        assert len(found) == len(layer.weights)

    @pytest.mark.parametrize("name", [*ADAPTABLE, "Conv2D"])
    def test_low_rank(self, name):
        make, shape = ADAPTABLE.get(name, (lambda: layers.Conv2D(8, 3), (None, 5, 5, 8)))
        layer = make()
        layer.build(shape)
        assert "adapted" not in {weight.role.kind for weight in own_weights(layer)}
        layer.enable_lora(2)
        found = own_weights(layer)
        assert {weight.role.kind for weight in found} == {"adapted"}
        assert {weight.role.note for weight in found} == {"left alone: the layer is under low-rank adaptation"}
        assert len(found) == len(layer.weights) > 2
