"""What was used last is kept, whoever asks, and goes with no copy."""

import copy
import pickle
import sys
import threading

from spidereye.recent import Recent


def test_threads_share_it():
    """Without a lock one of them takes what another has just thrown out."""
    kept, errors = Recent(1), []

    def work(own: int) -> None:
        try:
            for number in range(1500):
                key = f"{(own + number) % 3}"
                assert kept.find(key, lambda key=key: key) == key
        except Exception as error:
            errors.append(error)

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(own,)) for own in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual)
    assert not errors and len(kept) == 1


def test_copies_are_empty():
    kept = Recent(3)
    kept.find("lock", threading.Lock)  # which cannot be pickled
    for other in (copy.copy(kept), copy.deepcopy(kept), pickle.loads(pickle.dumps(kept))):
        assert isinstance(other, Recent) and not other and other.most == 3
        assert other.find("a", lambda: 1) == 1
    assert list(kept) == ["lock"]
