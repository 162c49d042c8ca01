"""Workflows that together use every kind of record that a Temporal server stores."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy, SearchAttributeKey
from temporalio.exceptions import ApplicationError

CUSTOMER = SearchAttributeKey.for_keyword("Customer")
AMOUNT = SearchAttributeKey.for_float("Amount")
TAGS = SearchAttributeKey.for_keyword_list("Tags")
NOTE = SearchAttributeKey.for_text("Note")
URGENT = SearchAttributeKey.for_bool("Urgent")
ITEMS = SearchAttributeKey.for_int("Items")
DUE = SearchAttributeKey.for_datetime("Due")
SEARCH_ATTRIBUTES = (CUSTOMER, AMOUNT, TAGS, NOTE, URGENT, ITEMS, DUE)

SHORT = timedelta(seconds=60)
_RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_attempts=5)


@dataclass
class Order:
    """The argument of the workflows.

    Attributes:
        number: The order's number.
        customer: The customer; a planted string in the demonstration.
        items: The number of activities or children.
    """

    number: int
    customer: str
    items: int = 2


@activity.defn
async def charge(order: Order) -> str:
    """Charge a customer. The first attempt fails, so that the server stores a failure and retries."""
    if activity.info().attempt == 1 and order.number % 2 == 0:
        raise ApplicationError(f"card of {order.customer} was declined", order.customer)
    activity.heartbeat(order.customer)
    return f"charged {order.customer}"


@activity.defn
async def ship(order: Order) -> str:
    """Ship an order."""
    return f"shipped to {order.customer}"


@workflow.defn
class TwoActivities:
    """Charges and ships: an activity with a retry, and one without."""

    @workflow.run
    async def run(self, order: Order) -> list[str]:
        """Run both activities."""
        charged = await workflow.execute_activity(charge, order, start_to_close_timeout=SHORT, retry_policy=_RETRY)
        shipped = await workflow.execute_activity(ship, order, start_to_close_timeout=SHORT, retry_policy=_RETRY)
        return [charged, shipped]


@workflow.defn
class Conversation:
    """Waits for signals and updates, answers queries, and ends by a signal."""

    def __init__(self) -> None:
        self._heard: list[str] = []
        self._ended = False

    @workflow.run
    async def run(self, order: Order) -> list[str]:
        """Wait for the end, or for one timer."""
        workflow.upsert_search_attributes([CUSTOMER.value_set(order.customer), ITEMS.value_set(order.items)])
        await workflow.sleep(0.1)
        await workflow.wait_condition(lambda: self._ended)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._heard

    @workflow.signal
    def say(self, text: str) -> None:
        """Receive a text."""
        self._heard.append(text)

    @workflow.signal
    def end(self) -> None:
        """End the workflow."""
        self._ended = True

    @workflow.query
    def heard(self) -> list[str]:
        """Return the texts so far."""
        return self._heard

    @workflow.update
    async def ask(self, text: str) -> int:
        """Receive a text, and return the number of texts after an activity."""
        await workflow.execute_activity(ship, Order(1, text), start_to_close_timeout=SHORT, retry_policy=_RETRY)
        self._heard.append(text)
        return len(self._heard)


@workflow.defn
class Family:
    """Starts children and collects their results."""

    @workflow.run
    async def run(self, order: Order) -> int:
        """Run the children."""
        children = [
            workflow.execute_child_workflow(
                TwoActivities.run,
                Order(number, order.customer),
                id=f"{workflow.info().workflow_id}-child-{number}",
            )
            for number in range(order.items)
        ]
        return len(await asyncio.gather(*children))


@workflow.defn
class Chain:
    """Continues as new until its number is 0."""

    @workflow.run
    async def run(self, order: Order) -> str:
        """Continue, or end."""
        if order.number > 0:
            workflow.continue_as_new(Order(order.number - 1, order.customer))
        return order.customer


@workflow.defn
class Endless:
    """Waits until it is cancelled or terminated. A cancellation is cleaned up by an activity."""

    @workflow.run
    async def run(self, order: Order) -> str:
        """Wait for ever."""
        try:
            await workflow.wait_condition(lambda: False)
        except asyncio.CancelledError:
            await workflow.execute_activity(ship, order, start_to_close_timeout=SHORT, retry_policy=_RETRY)
            raise
        return ""


WORKFLOWS = (TwoActivities, Conversation, Family, Chain, Endless)
ACTIVITIES = (charge, ship)
