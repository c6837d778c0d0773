"""What OpenAI says of a key that it does not take, word for word and route by route, as measured in 2025 and 2026.

| route                   | without a key                                   | laid out by   |
|-------------------------|-------------------------------------------------|---------------|
| `/v1/models`            | `Missing bearer authentication in header`       | two spaces    |
| `/v1/responses`         | `Missing bearer or basic authentication …`      | two spaces    |
| others                  | `You didn't provide an API key. …`              | four spaces   |

With a key that is wrong it is one text for all, laid out by two spaces, with the middle of the key in asterisks; one of
no more than twelve characters is shown whole.
"""

import json

REALM = 'Bearer realm="OpenAI API"'

NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using "
    "Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) "
    "if you're accessing the API from your browser and are prompted for a username and password. You can "
    "obtain an API key from https://platform.openai.com/account/api-keys."
)
NO_BEARER = "Missing bearer authentication in header"
NEITHER = "Missing bearer or basic authentication in header"
WRONG_KEY = (
    "Incorrect API key provided: {}. You can find your API key at "
    "https://platform.openai.com/account/api-keys."
)


def bearer(value):
    """The key in an Authorization header: None without a bearer, empty with an empty one."""
    scheme, _, key = (value or "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def body(path, key):
    """The body of the 401 for a key (None if there is none) on a path."""
    if key is not None:
        return _laid_out(WRONG_KEY.format(_masked(key)), "invalid_api_key", 2)
    if path.startswith("/v1/models"):
        return _laid_out(NO_BEARER, None, 2)
    if path.startswith("/v1/responses"):
        return _laid_out(NEITHER, None, 2)
    return _laid_out(NO_KEY, None, 4)


def _laid_out(message, code, indent):
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return json.dumps({"error": error}, indent=indent).encode()


def _masked(key):
    if not key:
        return "''"
    return key if len(key) <= 12 else f"{key[:8]}{'*' * (len(key) - 12)}{key[-4:]}"
