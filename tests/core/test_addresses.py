import pytest

from mien.core.addresses import shown
from mien.core.images import open_image
from mien.errors import ImageError


@pytest.mark.parametrize(
    ("source", "printed"),
    [
        ("rtsp://admin:pw@10.0.0.1:554/x", "rtsp://admin:***@10.0.0.1:554/x"),
        ("rtsp://:p:w@x@10.0.0.1/x", "rtsp://:***@10.0.0.1/x"),
        ("rtsp://admin:p/w?a#b@10.0.0.1/x", "rtsp://admin:***@10.0.0.1/x"),
        ("HTTP://a:pw@h/x?token=abc&n=1&Password=pw", "HTTP://a:***@h/x?token=***&n=1&Password=***"),
        ("http://h/x?api_key=abc;auth-sig=d", "http://h/x?api_key=***;auth-sig=***"),
        ("rtsp://admin@10.0.0.1:554/x", "rtsp://admin@10.0.0.1:554/x"),
        ("http://h:80/x?n=1", "http://h:80/x?n=1"),
        ("a:b@c.mp4", "a:b@c.mp4"),
    ],
)
def test_passwords_of_an_address_are_not_printed(source, printed):
    assert shown(source) == printed


def test_an_address_given_as_an_image_is_refused_without_its_password():
    with pytest.raises(ImageError, match=r"rtsp://admin:\*\*\*@127.0.0.1/x' is a web address"):
        open_image("rtsp://admin:S3cret@127.0.0.1/x")
