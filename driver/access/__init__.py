"""Who may do what: principals, roles, grants, and the sessions through which a service calls.

Read in this order: `roles.py`, `catalogue.py` (what each operation needs), `policy.py` and `changes.py` (who has which role),
`authorization.py` (the decision), `session.py` (a call from beginning to end).
"""

from .authorization import Decision
from .caller import CALLER
from .catalogue import OPERATIONS, Operation
from .control import AccessControl, by_api_key, by_certificate
from .errors import InvalidPolicyChange, NotAuthenticated, PermissionDenied
from .policy import Policy
from .session import Session

__all__ = [
    "CALLER",
    "OPERATIONS",
    "AccessControl",
    "Decision",
    "InvalidPolicyChange",
    "NotAuthenticated",
    "Operation",
    "PermissionDenied",
    "Policy",
    "Session",
    "by_api_key",
    "by_certificate",
]
