"""The published keys are those that sign, of either kind, and nothing of what is private."""

from __future__ import annotations

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from apiserver.authn.issuer_discovery import key_set
from apiserver.authn.tokens import PrivateKey, algorithm, key_id

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP384R1())


@pytest.mark.parametrize("key", [RSA, EC])
def test_a_published_key_verifies_what_its_own_half_signed(key: PrivateKey) -> None:
    published = key_set([RSA.public_key(), EC.public_key()])
    named = next(each for each in published["keys"] if each["kid"] == key_id(key.public_key()))
    assert named["alg"] == algorithm(key) and "d" not in named
    token = jwt.encode({"sub": "x"}, key, algorithm=algorithm(key))
    assert jwt.decode(token, jwt.PyJWK.from_dict(named), [named["alg"]]) == {"sub": "x"}
    other = EC if key is RSA else RSA
    with pytest.raises(jwt.InvalidTokenError):
        jwt.decode(jwt.encode({}, other, algorithm=algorithm(other)), jwt.PyJWK.from_dict(named), [named["alg"]])
