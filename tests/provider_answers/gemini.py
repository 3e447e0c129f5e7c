"""Gemini's protocol (https://ai.google.dev/api/generate-content), JSON and server-sent events."""

from collections.abc import Iterator
from typing import Any

from tests.provider_answers.routes import SECRET, TEXT, Asked, Route

__all__ = ["ROUTES"]

USAGE: dict[str, Any] = {
    "promptTokenCount": 1200,
    "cachedContentTokenCount": 1024,
    "candidatesTokenCount": 4,
    "thoughtsTokenCount": 3,
    "totalTokenCount": 1207,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1200}],
    "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 1024}],
}
AUDIO = {
    "promptTokenCount": 300,
    "candidatesTokenCount": 7,
    "totalTokenCount": 307,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 100}, {"modality": "AUDIO", "tokenCount": 200}],
}
GROUNDED = {"webSearchQueries": ["why 42"], "groundingChunks": [{"web": {"uri": "https://example.org", "title": "42"}}]}


def content(asked: Asked) -> dict[str, Any]:
    """A whole answer."""
    model = asked.path.rpartition("/")[2].partition(":")[0]
    parts: list[dict[str, Any]] = [{"text": TEXT}]
    said_already = any(
        "functionResponse" in part for one in asked.body.get("contents", ()) for part in one.get("parts", ())
    )
    if asked.body.get("tools") and not said_already:
        parts = [{"functionCall": {"name": "add", "args": {"a": 1}}}]
    candidate: dict[str, Any] = {
        "content": {"role": "model", "parts": parts},
        "finishReason": "MAX_TOKENS" if asked.scenario == "length" else "STOP",
        "index": 0,
    }
    answer: dict[str, Any] = {
        "candidates": [candidate],
        "usageMetadata": AUDIO if asked.scenario == "audio" else USAGE,
        "modelVersion": model,
        "responseId": "resp_1",
    }
    if asked.scenario == "grounded":
        candidate["groundingMetadata"] = GROUNDED
    if asked.scenario == "blocked":
        del answer["candidates"]
        answer["promptFeedback"] = {"blockReason": "SAFETY"}
        answer["usageMetadata"] = {"promptTokenCount": 1200, "totalTokenCount": 1200}
    return answer


def content_events(asked: Asked) -> Iterator[dict[str, Any]]:
    """The same as a stream: each chunk tells the usage until then."""
    whole = content(asked)
    first, last = {**USAGE, "candidatesTokenCount": 1, "totalTokenCount": 1204}, whole["usageMetadata"]
    if "candidates" not in whole:
        yield whole
        return
    (candidate,) = whole["candidates"]
    texts = [TEXT[:4], TEXT[4:8], TEXT[8:]]
    pieces = [[{"text": text}] for text in texts] if "text" in candidate["content"]["parts"][0] else None
    for number, parts in enumerate(pieces or [[{"text": ""}], candidate["content"]["parts"], []]):
        if number == 2 and asked.scenario == "error-in-stream":
            yield {"error": {"code": 503, "message": f"overloaded, key {SECRET}", "status": "UNAVAILABLE"}}
            return
        chunk = {"content": {"role": "model", "parts": parts}, "index": 0}
        yield {**whole, "candidates": [chunk], "usageMetadata": first}
    ended = {**candidate, "content": {"role": "model", "parts": [{"text": ""}]}}
    yield {**whole, "candidates": [ended], "usageMetadata": last}


def embeddings(asked: Asked) -> dict[str, Any]:
    """Of several texts; what they take is not told."""
    return {"embeddings": [{"values": [0.5, 0.25]} for _ in asked.body.get("requests", [0])]}


def tokens(_asked: Asked) -> dict[str, Any]:
    """How many there are."""
    return {"totalTokens": 1200}


def images(_asked: Asked) -> dict[str, Any]:
    """One image."""
    return {"predictions": [{"bytesBase64Encoded": "AAAA", "mimeType": "image/png"}]}


def error(status: int, text: str) -> dict[str, Any]:
    """A refusal."""
    return {"error": {"code": status, "message": text, "status": "SOME_STATUS"}}


ROUTES = [
    Route(r".*:generateContent", content, error=error),
    Route(r".*:streamGenerateContent", content, content_events, streams=lambda _: True, error=error),
    Route(r".*:batchEmbedContents", embeddings, error=error),
    Route(r".*:embedContent", embeddings, error=error),
    Route(r".*:countTokens", tokens, error=error),
    Route(r".*:predict", images, error=error),
]
