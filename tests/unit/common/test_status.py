"""Status errors: upstream's words, and the way there and back."""

from common.api import status
from common.api.status import (
    MAX_CAUSES,
    Expired,
    FieldError,
    Gone,
    Invalid,
    NotFound,
    StatusError,
    invalid,
    invalid_value,
)


def test_the_words_of_the_factories() -> None:
    assert status.not_found("pods", "web").message == 'pods "web" not found'
    assert status.not_found("deployments", "web", "apps").message == 'deployments.apps "web" not found'
    assert status.already_exists("deployments", "web", "apps").code == 409
    assert status.conflict("pods", "web").message == (
        'Operation cannot be fulfilled on pods "web": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )


def test_invalid_lists_its_causes() -> None:
    error = status.invalid(
        "Pod",
        "web",
        "",
        [status.required("spec.containers", ""), status.not_supported("spec.restartPolicy", "x", {"Never", "Always"})],
    )
    assert error.message == (
        'Pod "web" is invalid: [spec.containers: Required value, '
        'spec.restartPolicy: Unsupported value: "x": supported values: "Always", "Never"]'
    )
    assert error.to_status()["details"]["causes"][0] == {
        "reason": "FieldValueRequired",
        "message": "Required value",
        "field": "spec.containers",
    }


def test_an_answer_is_not_as_long_as_the_errors_are_many() -> None:
    errors = [invalid_value(f"data[{i}]", "x", "no") for i in range(MAX_CAUSES)]
    assert len(invalid("ConfigMap", "a", "", errors).details["causes"]) == MAX_CAUSES  # type: ignore[index]
    refused = invalid("ConfigMap", "a", "", [*errors, *errors[:7]])
    assert refused.message.endswith(f'data[{MAX_CAUSES - 1}]: Invalid value: "x": no, and 7 more errors]')
    assert len(refused.details["causes"]) == MAX_CAUSES  # type: ignore[index]


def test_supported_values_keep_the_order_of_a_list() -> None:
    error = status.not_supported("spec.restartPolicy", "x", ["Never", "Always"])
    assert error.body == 'Unsupported value: "x": supported values: "Never", "Always"'


def test_a_value_may_be_omitted() -> None:
    error = status.invalid_value("status.conditions", status.OMITTED, "no")
    assert error.message() == "status.conditions: Invalid value: no"


def test_lists_of_strings_and_nothing_are_shown_as_go_shows_them() -> None:
    error = status.invalid_value("spec.clusterIPs", ["10.96.0.1", "b"], "no")
    assert error.message() == 'spec.clusterIPs: Invalid value: []string{"10.96.0.1", "b"}: no'
    assert status.invalid_value("a", [], "no").message() == "a: Invalid value: []string{}: no"
    assert status.invalid_value("a", None, "no").message() == 'a: Invalid value: "null": no'


def test_values_are_shown_as_go_shows_them() -> None:
    assert FieldError("FieldValueInvalid", "a", "b", 3).message() == "a: Invalid value: 3: b"
    assert FieldError("FieldValueInvalid", "a", "b", "x").message() == 'a: Invalid value: "x": b'


def test_there_and_back() -> None:
    for error in (status.not_found("pods", "a"), Expired("too old"), status.invalid("Pod", "a", "", [])):
        back = StatusError.from_status(error.to_status())
        assert type(back) is type(error)
        assert (back.message, back.code, back.details) == (error.message, error.code, error.details)
    assert isinstance(StatusError.from_status({"code": 410, "message": "gone"}), Gone)
    assert isinstance(StatusError.from_status({"reason": "NotFound"}), NotFound)
    assert isinstance(StatusError.from_status({"code": 422}), Invalid)
    assert StatusError.from_status({"code": 418}).code == 418
