import pytest

from edgekit import errors


@pytest.mark.parametrize("kind", [v for v in vars(errors).values() if isinstance(v, type)])
def test_every_error_is_one_line_and_has_an_exit_code_of_the_table(kind: type[errors.EdgekitError]) -> None:
    assert "\n" not in str(kind("two\nlines"))
    assert kind.exit_code in {1, 2, 3, 4, 5, 6, 7, 8, 10}
