"""A forecast corrected by what it was worth: noise is smoothed, a right one stays, nothing later is read."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from fabrique.core.forecast import LEAST, corrected

HOURS = 24 * 21
KNOWN = 24 * 14


def day() -> npt.NDArray[np.int64]:
    values: npt.NDArray[np.int64] = np.rint(300_000 + 120_000 * np.sin(np.arange(HOURS) * np.pi / 12)).astype(np.int64)
    return values


def noisy(seed: int) -> npt.NDArray[np.int64]:
    random = np.random.Generator(np.random.PCG64(seed))
    values: npt.NDArray[np.int64] = np.rint(day() * random.uniform(0.6, 1.4, HOURS)).astype(np.int64)
    return values


def test_a_forecast_that_was_never_wrong_stays_as_it_is() -> None:
    assert np.array_equal(corrected(day(), day()[:KNOWN]), day()[KNOWN:])
    still = np.full(HOURS, 400_000, np.int64)
    assert np.array_equal(corrected(still, still[:KNOWN]), still[KNOWN:])


def test_too_little_known_changes_nothing() -> None:
    forecast = noisy(1)
    assert np.array_equal(corrected(forecast, day()[: LEAST - 1]), forecast[LEAST - 1 :])
    assert not len(corrected(forecast, day()))


@pytest.mark.parametrize("seed", range(4))
def test_errors_from_slot_to_slot_are_smoothed(seed: int) -> None:
    forecast = noisy(seed)
    before = np.abs(forecast - day())[KNOWN:].mean()
    after = np.abs(corrected(forecast, day()[:KNOWN]) - day()[KNOWN:]).mean()
    assert after < before / 2


def test_a_bias_is_learnt() -> None:
    forecast = day() * 2
    got = corrected(forecast, day()[:KNOWN])
    swing = int(got.max() - got.min())
    assert swing == pytest.approx(240_000, rel=0.01)


def test_what_the_hours_to_come_really_are_is_not_read_and_nothing_given_is_changed() -> None:
    forecast, actual = noisy(3), day()[:KNOWN]
    copies = forecast.copy(), actual.copy()
    one = corrected(forecast, actual)
    assert np.array_equal(one, corrected(forecast, actual))
    assert np.array_equal(forecast, copies[0])
    assert np.array_equal(actual, copies[1])
    farther = forecast.copy()
    farther[-1] += 100_000
    assert np.array_equal(corrected(farther, actual)[:-4], one[:-4])


def test_negative_prices_are_values_like_others() -> None:
    forecast, actual = noisy(2) - 400_000, day() - 400_000
    after = np.abs(corrected(forecast, actual[:KNOWN]) - actual[KNOWN:]).mean()
    assert after < np.abs(forecast - actual)[KNOWN:].mean()
