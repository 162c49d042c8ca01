"""A worker and a client of Temporal whose payloads are sealed with the keys of a namespace."""

from __future__ import annotations

import argparse
import asyncio
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from strongroom.driver import SealedPayloadCodec, Strongroom, load_config

QUEUE = "greetings"


@activity.defn
async def greet(name: str) -> str:
    """Return a greeting."""
    return f"Hello, {name}"


@workflow.defn
class Greeting:
    """Greets one person."""

    @workflow.run
    async def run(self, name: str) -> str:
        """Run the activity."""
        return await workflow.execute_activity(greet, name, start_to_close_timeout=timedelta(seconds=30))


async def sealing(strongroom: Strongroom, namespace: str) -> DataConverter:
    """Return the converter that seals payloads, and the messages of failures too."""
    found = await strongroom.namespaces.get(namespace)
    return DataConverter(
        payload_codec=SealedPayloadCodec(strongroom.keyring, found.namespace_id),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )


async def main() -> None:
    """Run the worker, or start a workflow, or show what a server would get."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("namespace")
    parser.add_argument("--address", default="localhost:7233")
    parser.add_argument("--start", metavar="NAME")
    parser.add_argument("--show", metavar="NAME")
    arguments = parser.parse_args()
    async with Strongroom.open(load_config(arguments.config)) as strongroom:
        converter = await sealing(strongroom, arguments.namespace)
        if arguments.show:
            [sealed] = await converter.encode([arguments.show])
            [opened] = await converter.decode([sealed], [str])
            print(f"on the wire: {sealed.data[:24].hex()}... ({len(sealed.data)} bytes)\nopened: {opened}")  # noqa: T201
            return
        client = await Client.connect(arguments.address, namespace=arguments.namespace, data_converter=converter)
        if arguments.start:
            greeting = await client.execute_workflow(Greeting.run, arguments.start, id=str(uuid4()), task_queue=QUEUE)
            print(greeting)  # noqa: T201
            return
        async with Worker(client, task_queue=QUEUE, workflows=[Greeting], activities=[greet]):
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
