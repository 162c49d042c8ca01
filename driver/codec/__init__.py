"""The payload codec for Temporal's SDKs, and the codec server that opens payloads for people in a browser."""
