"""Access control: principals, roles and grants, and the sessions through which a service calls.

Read in this order: `roles.py` and `driver/stores.py` (what each role gives and each operation needs), `policy.py` and
`changes.py` (who has which role), `authorization.py` (the decision), `authoriser.py` and `interceptor.py` (what happens
around a call), `session.py`.
"""

from .authorization import Decision
from .caller import CALLER
from .control import AccessControl, by_api_key, by_certificate
from .errors import InvalidPolicyChange, NotAuthenticated, PermissionDenied, PolicyAltered, PolicyRolledBack
from .policy import Policy
from .session import Session

__all__ = [
    "CALLER",
    "AccessControl",
    "Decision",
    "InvalidPolicyChange",
    "NotAuthenticated",
    "PermissionDenied",
    "Policy",
    "PolicyAltered",
    "PolicyRolledBack",
    "Session",
    "by_api_key",
    "by_certificate",
]
