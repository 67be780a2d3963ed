"""Comparing two ways of running a model where rounding chooses for it."""

import pytest
import torch
from torch import Tensor, nn

from workers.contract.errors import UnsupportedModelError
from workers.quality.rounding import settled_difference

TIE = 1.0
WIDTH = 8


class Chooser(nn.Module):
    """Predicts 0 or 5 by whether a token's feature lies above a tie; a mixture of two experts."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.table = nn.Embedding.from_pretrained(features[:, None].expand(-1, WIDTH).clone())

    def get_input_embeddings(self) -> nn.Module:
        return self.table

    def predict(self) -> Tensor:
        return 5.0 * (self.table(torch.arange(len(self.table.weight)))[:, 0] > TIE).float()


def features(n_tied: int) -> Tensor:
    """Return 20 features of which the first lie at the tie."""
    spread = torch.tensor([0.2, 1.7] * 10)
    spread[:n_tied] = TIE
    return spread


def test_a_token_whose_choice_rounding_makes_is_not_compared():
    model = Chooser(features(n_tied=2))
    theirs = model.predict()
    ours = theirs.clone()
    ours[:2] = 5.0 - ours[:2]  # the other expert
    assert settled_difference(model, ours, theirs, 1e-3, model.predict) == 0


def test_a_difference_at_a_token_that_rounding_does_not_decide_is_found():
    model = Chooser(features(n_tied=2))
    theirs = model.predict()
    ours = theirs.clone()
    ours[0], ours[7] = 5.0 - ours[0], ours[7] + 0.25
    assert settled_difference(model, ours, theirs, 1e-3, model.predict) == pytest.approx(0.25)


def test_what_is_not_a_number_is_a_difference():
    model = Chooser(features(n_tied=0))
    theirs = model.predict()
    ours = theirs.clone()
    ours[3] = torch.nan
    assert settled_difference(model, ours, theirs, 1e-3, model.predict) == torch.inf


def test_nothing_is_computed_anew_where_nothing_differs():
    model = Chooser(features(n_tied=0))
    theirs = model.predict()

    def again() -> Tensor:
        raise AssertionError("computed anew")

    assert settled_difference(model, theirs + 1e-5, theirs, 1e-3, again) < 1e-3


def test_a_model_that_rounding_decides_everywhere_is_refused_with_that_reason():
    model = Chooser(features(n_tied=20))
    theirs = model.predict()
    with pytest.raises(UnsupportedModelError, match="float32 rounding alone"):
        settled_difference(model, 5.0 - theirs, theirs, 1e-3, model.predict)
