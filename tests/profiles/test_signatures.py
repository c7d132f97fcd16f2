"""Signatures of the clouds, by their own samples where they publish any."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Final, Literal
from urllib.parse import parse_qs, urlsplit

import pytest
from signatures import (
    Credentials,
    alibaba_credentials,
    alibaba_mq_credentials,
    aws_signed_query,
    aws_signing_key,
    aws_websocket_url,
    tencent_credentials,
)

SECRET: Final = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"  # of AWS's documentation
TIME: Final = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
HOST: Final = "abc-ats.iot.eu-west-1.amazonaws.com"


def url_at(at: datetime, *, token: str | None = None, expires: int | None = None) -> str:
    return aws_websocket_url(
        HOST,
        region="eu-west-1",
        access_key_id="AKIDEXAMPLE",
        secret_access_key=SECRET,
        at=at,
        session_token=token,
        expires=expires,
    )


class TestAWS:
    # AWS General Reference, "Examples of how to derive a signing key for Signature Version 4" and
    # "Task 3: Calculate the signature for AWS Signature Version 4".
    @pytest.mark.parametrize(
        ("day", "key"),
        [
            ("20120215", "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"),
            ("20150830", "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"),
        ],
    )
    def test_the_documented_keys(self, day: str, key: str) -> None:
        derived = aws_signing_key(SECRET, day=day, region="us-east-1", service="iam")
        assert derived.hex() == key

    # AWS Signature Version 4 test suite, "get-vanilla", the variant that signs the query.
    def test_the_test_suite_of_aws(self) -> None:
        query = aws_signed_query(
            "example.amazonaws.com",
            "/",
            service="service",
            region="us-east-1",
            access_key_id="AKIDEXAMPLE",
            secret_access_key=SECRET,
            at=TIME,
            expires=3600,
        )
        assert parse_qs(query, strict_parsing=True) == {
            "X-Amz-Algorithm": ["AWS4-HMAC-SHA256"],
            "X-Amz-Credential": ["AKIDEXAMPLE/20150830/us-east-1/service/aws4_request"],
            "X-Amz-Date": ["20150830T123600Z"],
            "X-Amz-Expires": ["3600"],
            "X-Amz-SignedHeaders": ["host"],
            "X-Amz-Signature": ["e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d"],
        }

    def test_the_url_of_iot_core(self) -> None:
        parts = urlsplit(url_at(TIME))
        assert (parts.scheme, parts.netloc, parts.path) == ("wss", HOST, "/mqtt")
        signed = aws_signed_query(
            HOST,
            "/mqtt",
            service="iotdevicegateway",
            region="eu-west-1",
            access_key_id="AKIDEXAMPLE",
            secret_access_key=SECRET,
            at=TIME,
        )
        assert parts.query == signed
        assert "X-Amz-Expires" not in signed
        assert "&X-Amz-Expires=300&" in url_at(TIME, expires=300)

    # AWS IoT Core developer guide, "MQTT over the WebSocket protocol": the token is added behind
    # what is signed.
    def test_a_session_token_is_added_and_not_signed(self) -> None:
        assert url_at(TIME, token="a/b+c==") == (
            f"{url_at(TIME)}&X-Amz-Security-Token=a%2Fb%2Bc%3D%3D"
        )

    def test_the_time_may_be_of_any_zone_but_has_one(self) -> None:
        there = TIME.astimezone(timezone(timedelta(hours=9)))
        assert url_at(there) == url_at(TIME)
        assert url_at(TIME + timedelta(seconds=1)) != url_at(TIME)
        with pytest.raises(ValueError, match="no time zone"):
            url_at(TIME.replace(tzinfo=None))


class TestAlibaba:
    # IoT Platform, "Establish MQTT connections over TCP", the example.
    def test_the_documented_sample(self) -> None:
        assert alibaba_credentials(
            "pk",
            "device",
            "secret",
            client_id="12345",
            timestamp=789,
            secure_mode=3,
            algorithm="hmacsha1",
        ) == Credentials(
            client_id="12345|securemode=3,signmethod=hmacsha1,timestamp=789|",
            username="device&pk",
            password="FAFD82A3D602B37FB0FA8B7892F24A477F851A14",
        )

    # No sample of the documentation: the password is that of `openssl dgst -sha256 -hmac secret`
    # for "clientIdpump-7deviceNamepumpproductKeya1b2c3".
    def test_without_a_timestamp_and_by_default(self) -> None:
        assert alibaba_credentials("a1b2c3", "pump", "secret", client_id="pump-7") == Credentials(
            client_id="pump-7|securemode=2,signmethod=hmacsha256|",
            username="pump&a1b2c3",
            password="CDA24032394E8719BD0A3383ACA35C6FE1AD366B4A618AFB9CE412CF3C406B0A",
        )

    # ApsaraMQ for MQTT, "Signature authentication": its example shows no result. The password is
    # that of `openssl dgst -sha1 -hmac "key secret" -binary | base64` for the Client Identifier.
    def test_apsara_mq(self) -> None:
        assert alibaba_mq_credentials(
            "mqtt-cn-example", "key id", "key secret", client_id="GID_Test@@@0001"
        ) == Credentials(
            client_id="GID_Test@@@0001",
            username="Signature|key id|mqtt-cn-example",
            password="MC0C7Z6yyXxumgVL8kEPQvUFk5M=",
        )


class TestTencent:
    # IoT Hub, "MQTT-Based Device Connection over TCP", has the rule and no sample value. These are
    # those of `openssl dgst -sha256 -hmac 0123456789abcdef`, and of -sha1, for the user name.
    @pytest.mark.parametrize(
        ("algorithm", "digest"),
        [
            ("hmacsha256", "673143381f396dc74067a7ec635260ad0f35af006e2a7294a9f5dd65765b01c4"),
            ("hmacsha1", "95d5af571f743b97fb6cf7601c9fc8ad52e72ef5"),
        ],
    )
    def test_against_openssl(
        self, algorithm: Literal["hmacsha1", "hmacsha256"], digest: str
    ) -> None:
        assert tencent_credentials(
            "ABCDE12345",
            "pump",
            "MDEyMzQ1Njc4OWFiY2RlZg==",
            connection_id="k3j9x",
            expires_at=1_800_000_000,
            algorithm=algorithm,
        ) == Credentials(
            client_id="ABCDE12345pump",
            username="ABCDE12345pump;12010126;k3j9x;1800000000",
            password=f"{digest};{algorithm}",
        )

    def test_a_secret_that_is_not_base64(self) -> None:
        with pytest.raises(ValueError, match="base64"):
            tencent_credentials("p", "d", "no base64!", connection_id="x", expires_at=0)
