"""Weights from files: what the real libraries wrote comes back exactly, and everything else is refused by name."""

import hashlib
import json
import os
import pathlib
import pickle
import subprocess
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import keras_initlab
from keras_initlab import FromFile
from keras_initlab.initializers import REGISTRY, weight_files

KERNEL = np.random.default_rng(3).normal(size=(3, 4))
BIAS = np.arange(4.0) / 7
FORMATS = ["weights.npz", "model.weights.h5", "model.keras", "weights.safetensors"]
# NumPy writes bfloat16 as bytes without a name.
READABLE = [
    (name, dtype)
    for name in FORMATS
    for dtype in ("float16", "bfloat16", "float32", "float64")
    if (name, dtype) != ("weights.npz", "bfloat16")
]
KEYS = {"npz": "kernel", "h5": "layers/dense/vars/0", "keras": "layers/dense/vars/0", "safetensors": "kernel"}


def model_with(kernel, bias=BIAS, dtype="float32"):
    """A model whose Dense layer holds these weights."""
    layer = keras.layers.Dense(kernel.shape[1], dtype=dtype)
    model = keras.Sequential([keras.Input(kernel.shape[:1]), layer])
    layer.set_weights([np.asarray(kernel, dtype), np.asarray(bias, dtype)])
    return model


def write(folder, name, kernel=KERNEL, dtype="float32"):
    """Have the library that owns the format write the file; returns its path and the kernel's key."""
    path, arrays = folder / name, {"kernel": np.asarray(kernel, dtype), "bias": np.asarray(BIAS, dtype)}
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".safetensors":
        save_file(arrays, path)
    elif path.suffix == ".h5":
        model_with(kernel, dtype=dtype).save_weights(path)
    else:
        model_with(kernel, dtype=dtype).save(path)
    return path, KEYS[path.suffix[1:]]


def values(initializer, shape=KERNEL.shape, dtype=None):
    """The drawn values."""
    return keras.ops.convert_to_numpy(initializer(shape, dtype=dtype))


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class TestEachFormat:
    @pytest.mark.parametrize(("name", "dtype"), READABLE)
    def test_reads_back_what_was_written(self, tmp_path, name, dtype):
        if (keras.backend.backend(), dtype) == ("jax", "float64"):
            pytest.skip("JAX has float64 only where it was switched on")
        path, key = write(tmp_path, name, dtype=dtype)
        expected = np.asarray(KERNEL, dtype).astype("float32")
        for asked in {"float32", dtype} - {"float64"}:
            weight = FromFile(path, key, sha256(path))((3, 4), asked)
            assert keras.backend.standardize_dtype(weight.dtype) == asked
            assert (keras.ops.convert_to_numpy(keras.ops.cast(weight, "float32")) == expected).all()

    def test_bfloat16_in_npz_is_refused(self, tmp_path):
        path, key = write(tmp_path, "weights.npz", dtype="bfloat16")
        with pytest.raises(ValueError, match=r"must name an array of floats.*of dtype \|V2"):
            FromFile(path, key)((3, 4))

    def test_float64_keeps_its_digits(self, tmp_path):
        if keras.backend.backend() == "jax":
            pytest.skip("JAX has float64 only where it was switched on")
        path, key = write(tmp_path, "weights.npz", dtype="float64")
        assert (values(FromFile(path, key), dtype="float64") == KERNEL).all()

    @pytest.mark.parametrize("order", [">f4", "<f8"])
    def test_any_byte_and_memory_order(self, tmp_path, order):
        np.savez(tmp_path / "w.npz", kernel=np.asfortranarray(KERNEL.astype(order)))
        assert (values(FromFile(tmp_path / "w.npz", "kernel")) == KERNEL.astype("float32")).all()

    @pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3)])
    @pytest.mark.parametrize("name", ["w.npz", "w.h5", "w.safetensors"])
    def test_scalars_and_empty_arrays(self, tmp_path, name, shape):
        array = np.full(shape, 2.5, "float32")
        if name == "w.h5":
            with h5py.File(tmp_path / name, "w") as file:
                file["a"] = array
        else:
            (np.savez if name == "w.npz" else lambda path, a: save_file({"a": a}, path))(tmp_path / name, a=array)
        assert np.array_equal(values(FromFile(tmp_path / name, "a"), shape), array)

    def test_cells_of_a_saved_model(self, tmp_path):
        model = keras.Sequential([keras.Input((3, 2)), keras.layers.LSTM(5), keras.layers.Dense(1)])
        model.save(tmp_path / "m.keras")
        model.save_weights(tmp_path / "m.weights.h5")
        for number, weight in enumerate(model.layers[0].weights):
            for name in ("m.keras", "m.weights.h5"):
                initializer = FromFile(tmp_path / name, f"layers/lstm/cell/vars/{number}")
                assert np.array_equal(values(initializer, weight.shape), keras.ops.convert_to_numpy(weight))

    def test_the_older_whole_model_file(self, tmp_path):
        model = model_with(KERNEL)
        model.save(tmp_path / "m.h5")
        layer = model.layers[0].name
        key = f"model_weights/{layer}/{model.name}/{layer}/kernel"
        assert (values(FromFile(tmp_path / "m.h5", key)) == KERNEL.astype("float32")).all()

    def test_suffix_in_capitals(self, tmp_path):
        path, key = write(tmp_path, "weights.npz")
        assert (values(FromFile(path.rename(tmp_path / "W.NPZ"), key)) == KERNEL.astype("float32")).all()

    def test_a_keras_file_is_not_unpacked(self, tmp_path):
        path, key = write(tmp_path, "model.keras")
        FromFile(path, key)((3, 4))
        assert list(tmp_path.iterdir()) == [path]


class TestTheArrayHasToFit:
    @pytest.mark.parametrize("shape", [(4, 3), (12,), (1, 3, 4), (3, 1), (3, 4, 1), (), (3, 5)])
    @pytest.mark.parametrize("name", FORMATS)
    def test_another_shape(self, tmp_path, name, shape):
        path, key = write(tmp_path, name)
        with pytest.raises(ValueError, match="weight of shape") as caught:
            FromFile(path, key)(shape)
        assert all(repr(part) in str(caught.value) for part in (str(path), key, (3, 4), shape))

    def test_nothing_is_broadcast(self, tmp_path):
        np.savez(tmp_path / "w.npz", one=np.float32(1), row=np.ones((1, 4), "float32"))
        for key in ("one", "row"):
            with pytest.raises(ValueError, match=r"Received: shape=\(3, 4\). Name another key"):
                FromFile(tmp_path / "w.npz", key)((3, 4))

    @pytest.mark.parametrize("dtype", ["int8", "int64", "uint16", "bool", "complex64", "<U3", "S3", "datetime64[s]"])
    def test_no_floats(self, tmp_path, dtype):
        np.savez(tmp_path / "w.npz", codes=np.zeros((3, 4)).astype(dtype))
        with pytest.raises(ValueError, match=r"must name an array of floats.*key='codes', which is of dtype.*w.npz"):
            FromFile(tmp_path / "w.npz", "codes")((3, 4))

    @pytest.mark.parametrize(
        ("dtype", "name"), [("int8", "I8"), ("bool", "BOOL"), ("complex64", "C64"), ("float8_e4m3fn", "F8_E4M3")]
    )
    def test_no_floats_in_safetensors(self, tmp_path, dtype, name):
        save_file({"codes": np.zeros((3, 4), dtype)}, tmp_path / "w.safetensors")
        with pytest.raises(ValueError, match=rf"with arrays of floats.*w.safetensors.*its dtype is {name}, where F64"):
            FromFile(tmp_path / "w.safetensors", "codes")((3, 4))

    @pytest.mark.parametrize("name", FORMATS)
    def test_no_such_key(self, tmp_path, name):
        path, key = write(tmp_path, name)
        with pytest.raises(ValueError, match="must name one of the 2 arrays in") as caught:
            FromFile(path, key[:-1] + "7")((3, 4))
        assert str(path) in str(caught.value)
        assert repr(key) in str(caught.value).partition("Did you mean")[2]

    def test_a_few_of_many_keys(self, tmp_path):
        np.savez(tmp_path / "w.npz", **{f"layer{i:03}": KERNEL for i in range(50)})
        with pytest.raises(ValueError, match=r"the 50 arrays.*'layer003', 'layer004', \.\.\.. Received: key='z'.$"):
            FromFile(tmp_path / "w.npz", "z")((3, 4))

    @pytest.mark.parametrize("key", ["layers/dense", "/", "layers/dense/vars/0/", "/layers/dense/vars/0", "../x"])
    def test_groups_and_other_spellings_are_no_keys(self, tmp_path, key):
        path, _ = write(tmp_path, "model.weights.h5")
        with pytest.raises(ValueError, match="must name one of the 2 arrays"):
            FromFile(path, key)((3, 4))


class TestTheFileHasToBeThere:
    @pytest.mark.parametrize("name", FORMATS)
    def test_missing(self, tmp_path, name):
        initializer = FromFile(tmp_path / name, "kernel")
        with pytest.raises(FileNotFoundError, match=f"must name a file that is there.*{name}.*Put it there"):
            initializer((3, 4))

    @pytest.mark.parametrize("name", FORMATS)
    def test_a_folder(self, tmp_path, name):
        (tmp_path / name).mkdir()
        with pytest.raises(ValueError, match=f"must name a file. Received: path=.*{name}', which is a folder"):
            FromFile(tmp_path / name, "kernel")((3, 4))

    @pytest.mark.parametrize("damage", ["nothing", "text", "first half", "all but the end", "another format"])
    @pytest.mark.parametrize("name", FORMATS)
    def test_damaged(self, tmp_path, name, damage):
        path, key = write(tmp_path, name)
        whole = path.read_bytes()
        other = pickle.dumps(KERNEL)
        path.write_bytes(
            {
                "nothing": b"",
                "text": b"kernel 1 2 3\n" * 100,
                "first half": whole[: len(whole) // 2],
                "all but the end": whole[:-30],
                "another format": other,
            }[damage]
        )
        with pytest.raises(ValueError, match=f"must name a whole file.*{name}', where reading key.*Write the file"):
            FromFile(path, key)((3, 4))

    def test_flipped_bits_in_an_archive(self, tmp_path):
        path, key = write(tmp_path, "weights.npz")
        whole = bytearray(path.read_bytes())
        whole[whole.index(np.float32(KERNEL[1, 1]).tobytes())] ^= 1
        path.write_bytes(whole)
        with pytest.raises(ValueError, match=r"whole file.*BadZipFile: Bad CRC-32"):
            FromFile(path, key)((3, 4))

    def test_a_keras_file_without_weights(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
            archive.writestr("config.json", "{}")
        with pytest.raises(ValueError, match=r"whole file.*no item named 'model.weights.h5'"):
            FromFile(tmp_path / "m.keras", "layers/dense/vars/0")((3, 4))

    def test_a_relative_path_counts_from_where_the_call_is_made(self, tmp_path, monkeypatch):
        write(tmp_path, "weights.npz")
        initializer = FromFile("weights.npz", "kernel")
        monkeypatch.chdir(tmp_path)
        assert (values(initializer) == KERNEL.astype("float32")).all()
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        with pytest.raises(FileNotFoundError, match=r"path='weights.npz', which leads to '.*elsewhere"):
            initializer((3, 4))

    def test_safetensors_not_installed(self, tmp_path, monkeypatch):
        path, key = write(tmp_path, "weights.safetensors")
        monkeypatch.setitem(sys.modules, "safetensors", None)
        with pytest.raises(ImportError, match=r"weights.safetensors.*pip install keras_initlab\[safetensors\]"):
            FromFile(path, key)((3, 4))


class Bomb:
    """Unpickled, it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


class TestNothingIsRunAndNothingElseIsRead:
    def test_a_pickle_in_npz(self, tmp_path):
        objects = np.empty((3, 4), object)
        objects[:] = Bomb(tmp_path / "ran")
        np.savez(tmp_path / "w.npz", kernel=objects)
        with pytest.raises(ValueError, match=r"not of Python objects.*Object arrays cannot be loaded"):
            FromFile(tmp_path / "w.npz", "kernel")((3, 4))
        assert not (tmp_path / "ran").exists()
        with np.load(tmp_path / "w.npz", allow_pickle=True) as arrays:
            arrays["kernel"]
        assert (tmp_path / "ran").exists(), "the bomb is a dud"

    def test_a_pickle_named_npz(self, tmp_path):
        (tmp_path / "w.npz").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
        with pytest.raises(ValueError, match="BadZipFile: File is not a zip file"):
            FromFile(tmp_path / "w.npz", "kernel")((3, 4))
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("link", [h5py.SoftLink("/real"), h5py.ExternalLink("other.h5", "/real")])
    def test_links_are_no_keys(self, tmp_path, link):
        for name in ("other.h5", "w.h5"):
            with h5py.File(tmp_path / name, "w") as file:
                file["real"] = KERNEL
        with h5py.File(tmp_path / "w.h5", "a") as file:
            file["linked"] = link
            assert file["linked"].shape == (3, 4)
        with pytest.raises(ValueError, match=r"must name one of the 1 arrays in .*: 'real'. Received: key='linked'"):
            FromFile(tmp_path / "w.h5", "linked")((3, 4))

    def test_values_that_lie_in_another_file(self, tmp_path):
        (tmp_path / "raw").write_bytes(KERNEL.tobytes())
        with h5py.File(tmp_path / "w.h5", "w") as file:
            file.create_dataset("raw", (3, 4), "f8", external=[(str(tmp_path / "raw"), 0, 96)])
            layout = h5py.VirtualLayout((3, 4), "f8")
            layout[:] = h5py.VirtualSource("other.h5", "real", (3, 4))
            file.create_virtual_dataset("virtual", layout)
        for key in ("raw", "virtual"):
            with pytest.raises(ValueError, match="ValueError: the values lie in another file"):
                FromFile(tmp_path / "w.h5", key)((3, 4))


class TestTheChecksum:
    @pytest.mark.parametrize("name", FORMATS)
    def test_of_the_whole_file(self, tmp_path, name):
        path, key = write(tmp_path, name)
        right = sha256(path)
        assert (values(FromFile(path, key, right.upper())) == KERNEL.astype("float32")).all()
        wrong = sha256(write(tmp_path, name, KERNEL + 1)[0])
        with pytest.raises(ValueError, match=f"that of the file .*{name}', which is '{wrong}'. Received.*'{right}'"):
            FromFile(path, key, right)((3, 4))

    def test_of_a_file_of_several_pieces(self, tmp_path):
        kernel = np.random.default_rng(0).normal(size=(640, 512)).astype("float32")
        np.savez(tmp_path / "w.npz", kernel=kernel)
        assert (tmp_path / "w.npz").stat().st_size > weight_files._CHUNK
        initializer = FromFile(tmp_path / "w.npz", "kernel", sha256(tmp_path / "w.npz"))
        assert (values(initializer, kernel.shape) == kernel).all()

    @pytest.mark.parametrize("name", FORMATS)
    def test_comes_before_the_reading(self, tmp_path, name):
        (tmp_path / name).write_text("no weights")
        with pytest.raises(ValueError, match="Argument `sha256` must be that of the file"):
            FromFile(tmp_path / name, "kernel", "0" * 64)((3, 4))

    @pytest.mark.parametrize("name", ["weights.npz", "model.weights.h5", "model.keras"])
    def test_a_file_put_in_its_place_after_the_check_is_not_read(self, tmp_path, monkeypatch, name):
        path, key = write(tmp_path, name)
        (tmp_path / "other").mkdir()
        other, _ = write(tmp_path / "other", name, KERNEL + 1)
        verify = weight_files._verify

        def verify_and_exchange(*arguments):
            verify(*arguments)
            os.replace(other, path)

        monkeypatch.setattr(weight_files, "_verify", verify_and_exchange)
        assert (values(FromFile(path, key, sha256(path))) == KERNEL.astype("float32")).all()
        assert (values(FromFile(path, key)) == (KERNEL + 1).astype("float32")).all()


class TestTheConfig:
    def test_holds_the_names_and_no_values(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        np.savez("big.npz", kernel=np.zeros((1000, 1000)))
        digits = sha256(pathlib.Path("big.npz"))
        initializer = FromFile(pathlib.Path("big.npz"), "kernel", digits)
        initializer((1000, 1000))
        assert initializer.get_config() == {"path": "big.npz", "key": "kernel", "sha256": digits}
        assert set(vars(initializer)) == {"path", "key", "sha256"}
        assert len(json.dumps(keras.initializers.serialize(initializer))) < 300
        assert len(pickle.dumps(initializer)) < 300

    def test_is_made_without_the_file(self):
        initializer = FromFile("/nowhere/weights.safetensors", "kernel")
        assert FromFile.from_config(initializer.get_config()).path == "/nowhere/weights.safetensors"

    @pytest.mark.parametrize("path", ["w.npy", "w.pt", "w.pkl", "w", "npz", "w.npz.gz", pathlib.Path("w.bin")])
    def test_an_unknown_suffix(self, path):
        with pytest.raises(
            ValueError, match=r"path that ends in .npz or .h5 or .keras or .safetensors. Received: path"
        ):
            FromFile(path, "kernel")


@pytest.mark.parametrize("name", FORMATS)
def test_the_values_are_constants_of_a_compiled_program(tmp_path, name):
    path, key = write(tmp_path, name)
    initializer = FromFile(path, key, sha256(path))
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        compiled = tf.function(lambda: initializer((3, 4)))()
    elif keras.backend.backend() == "jax":
        import jax

        compiled = jax.jit(initializer.__call__, static_argnames=["shape", "dtype"])(shape=(3, 4), dtype="float32")
    else:
        pytest.skip("this backend does not compile")
    assert (keras.ops.convert_to_numpy(compiled) == KERNEL.astype("float32")).all()


def test_the_example_of_the_registry():
    rows, columns = np.indices((24, 16))
    expected = ((rows * 16 + columns * 5) % 31 - 15) / 16
    assert (values(REGISTRY["FromFile"].make(), (24, 16)) == expected).all()


LOAD = """
import sys, keras, keras_initlab, numpy as np
model = keras.models.load_model(sys.argv[1])
print(type(model.layers[0].kernel_initializer).__name__, keras.ops.convert_to_numpy(model.layers[0].kernel).tolist())
"""


class TestASavedModel:
    @pytest.fixture
    def saved(self, tmp_path):
        """A model whose kernel came from a file, trained by one, and its file."""
        path, key = write(tmp_path, "weights.npz")
        layer = keras.layers.Dense(4, kernel_initializer=FromFile(path, key, sha256(path)))
        model = keras.Sequential([keras.Input((3,)), layer])
        assert (keras.ops.convert_to_numpy(layer.kernel) == KERNEL.astype("float32")).all()
        layer.kernel.assign(layer.kernel + 1)
        return model, path, tmp_path / "model.keras"

    def load(self, path):
        root = pathlib.Path(keras_initlab.__file__).parents[1]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
        command = [sys.executable, "-c", LOAD, str(path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)

    def test_loads_in_a_fresh_process_with_its_own_weights(self, saved):
        model, _, target = saved
        model.save(target)
        done = self.load(target)
        assert done.returncode == 0, done.stderr[-3000:]
        kernel = keras.ops.convert_to_numpy(model.layers[0].kernel).tolist()
        assert done.stdout.strip() == f"FromFile {kernel}"

    def test_needs_its_file(self, saved):
        model, path, target = saved
        model.save(target)
        path.unlink()
        with pytest.raises(FileNotFoundError, match="Put it there, also to load a saved model"):
            keras.models.load_model(target)

    def test_needs_no_file_with_another_initializer(self, saved):
        model, path, target = saved
        model.layers[0].kernel_initializer = keras.initializers.Zeros()
        model.save(target)
        path.unlink()
        loaded = keras.models.load_model(target).layers[0].kernel
        assert (keras.ops.convert_to_numpy(loaded) == keras.ops.convert_to_numpy(model.layers[0].kernel)).all()
