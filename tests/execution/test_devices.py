"""The kinds of device of a machine."""

import pytest
import torch

from hf_llc.errors import SettingsError
from hf_llc.execution import devices


def test_the_best_device_is_the_first_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for cuda, mps, best in ((True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert devices.device_kind(None) == best
        assert devices.device_kind("cpu") == "cpu"
    with pytest.raises(SettingsError, match="device must be one of cpu on this machine, got 'cuda'"):
        devices.device_kind("cuda")
