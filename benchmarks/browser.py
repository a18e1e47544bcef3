"""A headless Chromium to look at pages with, spoken to over a pipe: no port, no driver.

Its DevTools protocol is JSON, each message ended by a zero byte, in on descriptor 3 and out on 4
(https://chromedevtools.github.io/devtools-protocol/).
"""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
)


def find_chromium() -> str | None:
    """The browser's path, if one is installed."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return next(filter(None, found), None)


class Browser:
    """One page of a headless Chromium; to be used in ``with``.

    Args:
        binary: see `find_chromium`.
        width, height: of the page, in CSS pixels.
        dark: whether the page is asked for its dark colours.

    Attributes:
        errors: what the page wrote to the console as an error, and exceptions that nobody caught.
    """

    def __init__(
        self, binary: str, width: int = 1280, height: int = 900, *, dark: bool = False
    ) -> None:
        self.binary, self.size, self.dark = binary, (width, height), dark
        self.errors: list[str] = []

    def __enter__(self) -> Self:
        self._profile = tempfile.TemporaryDirectory(
            prefix="maskloom-browser-", ignore_cleanup_errors=True
        )
        inner_in, to_page = os.pipe()
        from_page, inner_out = os.pipe()
        # Beyond 4, so that neither is overwritten when the child gets its 3 and 4.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (inner_in, inner_out)]

        def connect() -> None:
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        self._process = subprocess.Popen(
            [self.binary, *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"],
            preexec_fn=connect,  # noqa: PLW1509  it only duplicates descriptors
            pass_fds=(3, 4),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for end in (*ends, inner_in, inner_out):
            os.close(end)
        self._in, self._out = os.fdopen(to_page, "wb", 0), os.fdopen(from_page, "rb", 1 << 20)
        self._number, self._session, self._rest = 0, None, b""
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.resize(*self.size)
        colours = {"name": "prefers-color-scheme", "value": "dark" if self.dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[colours])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._in.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, 9)
            self._process.wait()
        self._out.close()
        self._profile.cleanup()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask the browser; events that come meanwhile are looked through for errors.

        Raises:
            RuntimeError: the browser refuses, or is gone.
        """
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._in.write(json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, url: str) -> None:
        """Load a page; one that differs by its hash alone is told of the new hash."""
        self.call("Page.navigate", url=url)

    def evaluate(self, code: str) -> Any:
        """The value of an expression in the page; of a promise, what it resolves to.

        Raises:
            RuntimeError: it threw.
        """
        answer = self.call(
            "Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def wait(self, code: str, seconds: float = 60) -> Any:
        """The value of an expression as soon as it is true.

        Raises:
            TimeoutError: it never was.
        """
        until = time.monotonic() + seconds
        while not (value := self.evaluate(code)):
            if time.monotonic() > until:
                raise TimeoutError(f"not within {seconds:g} s: {code}; errors: {self.errors}")
            time.sleep(0.02)
        return value

    def press(self, key: str) -> None:
        """Press and release a key, named as in ``KeyboardEvent.key``."""
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, **text)

    def resize(self, width: int, height: int) -> None:
        """Another size of the page, in CSS pixels; narrow ones are taken for a phone."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def screenshot(self, path: Path) -> None:
        """Write what is seen as PNG."""
        shot = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._out.fileno(), 1 << 20)
            if not data:
                raise RuntimeError("the browser is gone")
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        value: dict[str, Any] = json.loads(message)
        return value

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                said = details.get("exception", {}).get("description", details["text"])
                self.errors.append(said)
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "assert"):
                self.errors.append(" ".join(str(one.get("value")) for one in params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.errors.append(params["entry"]["text"])
