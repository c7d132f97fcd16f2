"""What the clouds want of a CONNECT or a URL: AWS, Alibaba Cloud and Tencent Cloud sign them.

Copy this file beside your program. These functions know no clock, no network and no secrets but
their arguments: the same arguments always give the same signature, so they are easy to test. All
that they need is in Python's standard library.

The page "Clouds" of the documentation shows each of them in use.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple
from urllib.parse import quote

_AWS_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_AWS_IOT: Final = "iotdevicegateway"
_EMPTY: Final = hashlib.sha256(b"").hexdigest()
_TENCENT_APPLICATION: Final = "12010126"

SecureMode = Literal[2, 3]
"""How a device reaches Alibaba Cloud: 2 is TLS, 3 is plain TCP."""


class Credentials(NamedTuple):
    """What goes into CONNECT.

    Attributes:
        client_id: the Client Identifier.
        username: the User Name.
        password: the Password.
    """

    client_id: str
    username: str
    password: str


# -- AWS ------------------------------------------------------------------------------------------


def aws_websocket_url(  # noqa: PLR0913 - what is signed
    host: str,
    *,
    region: str,
    access_key_id: str,
    secret_access_key: str,
    at: datetime,
    session_token: str | None = None,
    expires: int | None = None,
) -> str:
    """The WebSocket URL of AWS IoT Core, signed with Signature Version 4.

    AWS takes it for some minutes after `at`, so each attempt to connect needs a new one.

    Args:
        host: the endpoint, such as ``abc-ats.iot.eu-west-1.amazonaws.com``.
        region: such as ``eu-west-1``.
        access_key_id: of the IAM user or role.
        secret_access_key: belongs to it.
        at: now, with its time zone.
        session_token: if the key is a temporary one. It is no part of what is signed: AWS IoT Core
            differs there from other services of AWS.
        expires: for how long the URL is to be good, in seconds; None for what AWS takes as usual.

    Raises:
        ValueError: `at` has no time zone.
    """
    query = aws_signed_query(
        host,
        "/mqtt",
        service=_AWS_IOT,
        region=region,
        access_key_id=access_key_id,
        secret_access_key=secret_access_key,
        at=at,
        expires=expires,
    )
    if session_token is not None:
        query += f"&X-Amz-Security-Token={quote(session_token, safe='')}"
    return f"wss://{host}/mqtt?{query}"


def aws_signed_query(  # noqa: PLR0913 - what is signed
    host: str,
    path: str,
    *,
    service: str,
    region: str,
    access_key_id: str,
    secret_access_key: str,
    at: datetime,
    expires: int | None = None,
) -> str:
    """The query of a GET request without a body, signed with Signature Version 4.

    Args:
        host: as the header Host says it.
        path: from ``/`` on.
        service: the name of the service that takes the request.
        region: where it is.
        access_key_id: who asks.
        secret_access_key: belongs to it.
        at: now, with its time zone.
        expires: for how long the signature is good, in seconds, or None.

    Raises:
        ValueError: `at` has no time zone.
    """
    if at.tzinfo is None:
        message = "the time to sign for has no time zone; write datetime.now(UTC)"
        raise ValueError(message)
    time = at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    day = time[:8]
    scope = f"{day}/{region}/{service}/aws4_request"
    values = {
        "X-Amz-Algorithm": _AWS_ALGORITHM,
        "X-Amz-Credential": f"{access_key_id}/{scope}",
        "X-Amz-Date": time,
        "X-Amz-Expires": None if expires is None else str(expires),
        "X-Amz-SignedHeaders": "host",
    }
    query = "&".join(
        f"{name}={quote(value, safe='')}" for name, value in values.items() if value is not None
    )
    request = "\n".join(("GET", quote(path), query, f"host:{host}", "", "host", _EMPTY))
    digest = hashlib.sha256(request.encode()).hexdigest()
    key = aws_signing_key(secret_access_key, day=day, region=region, service=service)
    signature = _sha256(key, f"{_AWS_ALGORITHM}\n{time}\n{scope}\n{digest}").hex()
    return f"{query}&X-Amz-Signature={signature}"


def aws_signing_key(secret_access_key: str, *, day: str, region: str, service: str) -> bytes:
    """The key of Signature Version 4 for one day, region and service.

    Args:
        secret_access_key: what it is derived from.
        day: such as ``20260131``, in UTC.
        region: such as ``eu-west-1``.
        service: such as ``iotdevicegateway``.
    """
    key = f"AWS4{secret_access_key}".encode()
    for part in (day, region, service, "aws4_request"):
        key = _sha256(key, part)
    return key


def _sha256(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


# -- Alibaba Cloud --------------------------------------------------------------------------------


def alibaba_credentials(  # noqa: PLR0913 - what is signed
    product_key: str,
    device_name: str,
    device_secret: str,
    *,
    client_id: str,
    timestamp: int | None = None,
    secure_mode: SecureMode = 2,
    algorithm: Literal["hmacsha1", "hmacsha256"] = "hmacsha256",
) -> Credentials:
    """How a device presents itself to IoT Platform of Alibaba Cloud.

    The signature does not expire: IoT Platform does not compare the timestamp with its clock. So
    one is made as the program starts, and is good for all connections.

    Args:
        product_key: ProductKey.
        device_name: DeviceName.
        device_secret: DeviceSecret.
        client_id: any name, of at most 64 characters, such as a serial number.
        timestamp: in milliseconds since 1970, or None for none.
        secure_mode: 2 for TLS, 3 for TCP.
        algorithm: how to sign.
    """
    signed = {"clientId": client_id, "deviceName": device_name, "productKey": product_key}
    extension = f"securemode={secure_mode},signmethod={algorithm}"
    if timestamp is not None:
        signed["timestamp"] = str(timestamp)
        extension += f",timestamp={timestamp}"
    content = "".join(f"{name}{value}" for name, value in sorted(signed.items()))
    digest = hmac.digest(device_secret.encode(), content.encode(), algorithm.removeprefix("hmac"))
    return Credentials(
        client_id=f"{client_id}|{extension}|",
        username=f"{device_name}&{product_key}",
        password=digest.hex().upper(),
    )


def alibaba_mq_credentials(
    instance_id: str, access_key_id: str, access_key_secret: str, *, client_id: str
) -> Credentials:
    """How a client presents itself to ApsaraMQ for MQTT of Alibaba Cloud, in the signature mode.

    The signature does not expire.

    Args:
        instance_id: such as ``mqtt-xxxxx``.
        access_key_id: AccessKey ID.
        access_key_secret: AccessKey secret.
        client_id: of the form ``GROUP@@@DEVICE``.
    """
    digest = hmac.digest(access_key_secret.encode(), client_id.encode(), "sha1")
    return Credentials(
        client_id=client_id,
        username=f"Signature|{access_key_id}|{instance_id}",
        password=base64.b64encode(digest).decode(),
    )


# -- Tencent Cloud --------------------------------------------------------------------------------


def tencent_credentials(  # noqa: PLR0913 - what is signed
    product_id: str,
    device_name: str,
    device_secret: str,
    *,
    connection_id: str,
    expires_at: int,
    algorithm: Literal["hmacsha1", "hmacsha256"] = "hmacsha256",
) -> Credentials:
    """How a device presents itself to IoT Hub and IoT Explorer of Tencent Cloud.

    Args:
        product_id: the product's identifier.
        device_name: the device's name.
        device_secret: the device's key, in base64 as the console shows it.
        connection_id: any few letters and digits, to find the connection in the console's logs.
        expires_at: until when the signature is good, in seconds since 1970.
        algorithm: how to sign.

    Raises:
        ValueError: the secret is not base64.
    """
    client_id = f"{product_id}{device_name}"
    username = f"{client_id};{_TENCENT_APPLICATION};{connection_id};{expires_at}"
    key = base64.b64decode(device_secret, validate=True)
    digest = hmac.digest(key, username.encode(), algorithm.removeprefix("hmac"))
    return Credentials(client_id, username, f"{digest.hex()};{algorithm}")
