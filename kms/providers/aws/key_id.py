"""The names of a key in AWS KMS: key id, key ARN, alias or alias ARN."""

from __future__ import annotations

import re
from dataclasses import dataclass

from strongroom.kms.errors import InvalidRequest, KeyNotFound

_KEY = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|mrk-[0-9a-f]{32}"
_ALIAS = r"alias/[A-Za-z0-9/_-]{1,250}"
_BARE = re.compile(rf"(?P<key>{_KEY})|(?P<alias>{_ALIAS})")
_ARN = re.compile(
    rf"(?P<partition>arn:aws[a-z-]*:kms):(?P<region>[a-z0-9-]+):(?P<account>\d{{12}}):(?:key/(?P<key>{_KEY})|(?P<alias>{_ALIAS}))"
)


@dataclass(frozen=True, slots=True)
class AwsKeyId:
    """A parsed key name.

    Attributes:
        text: The name as it was given.
        key: The key id alone; None for an alias. A multi-Region key has the same id in each region.
        region: The region in an ARN; None for the other forms.
    """

    text: str
    key: str | None
    region: str | None

    @classmethod
    def parse(cls, text: str) -> AwsKeyId:
        """Parse a key name.

        Raises:
            InvalidRequest: The text has none of the four forms.
        """
        match = _BARE.fullmatch(text) or _ARN.fullmatch(text)
        if match is None:
            msg = "a key of AWS KMS is named by its key id, its key ARN, alias/NAME or an alias ARN"
            raise InvalidRequest(msg)
        return cls(text, match["key"], match.groupdict().get("region"))

    @property
    def multi_region(self) -> bool:
        """Whether the key may have replicas in other regions, with the same id and key material."""
        return self.key is not None and self.key.startswith("mrk-")

    def within(self, region: str) -> str:
        """Return the name of the key in a region. For a multi-Region key of another region this is its replica's ARN.

        Raises:
            KeyNotFound: The key is in another region only.
        """
        if self.region in (None, region):
            return self.text
        if not self.multi_region:
            msg = f"{self.text} is in region {self.region}, and this provider asks {region}"
            raise KeyNotFound(msg)
        return self.text.replace(f":{self.region}:", f":{region}:", 1)


def regions_of(text: str, region: str) -> frozenset[str | None]:
    """Return the regions of a key: the region in its ARN, else the provider's.

    A multi-Region key may have replicas in unknown regions.
    """
    match = _ARN.fullmatch(text) or _BARE.fullmatch(text)
    if match is None:
        return frozenset((region,))  # a name for a new key
    named = AwsKeyId(text, match["key"], match.groupdict().get("region"))
    return frozenset((named.region or region, *([None] if named.multi_region else [])))
