"""An LSTM that starts by remembering: bias 1 on the forget gate, 0 on the others.

Keras calls a bias initializer for pieces of the bias unless ``unit_forget_bias=False``; LSTMForgetBias fills the whole
and says so when it is asked for a piece.
"""

from __future__ import annotations

import keras

import keras_initlab as kil

UNITS = 4


def main() -> dict[str, list[float]]:
    """Return the bias by gate."""
    layer = keras.layers.LSTM(
        UNITS, bias_initializer=kil.LSTMForgetBias(units=UNITS, value=1.0), unit_forget_bias=False
    )
    layer.build((None, 10, 3))
    pieces = keras.ops.split(layer.cell.bias, 4)
    bias = {
        gate: [float(b) for b in piece]
        for gate, piece in zip(("input", "forget", "cell", "output"), pieces, strict=True)
    }
    for gate, values in bias.items():
        opening = float(keras.ops.sigmoid(values[0]))
        print(f"{gate:7} gate: bias {values}" + ("" if gate == "cell" else f", open to {opening:.2f}"))

    print("\nWith Keras's default unit_forget_bias=True:")
    try:
        keras.layers.LSTM(UNITS, bias_initializer=kil.LSTMForgetBias(units=UNITS)).build((None, 10, 3))
    except ValueError as error:
        print(f"  {error}")
    return bias


if __name__ == "__main__":
    main()
