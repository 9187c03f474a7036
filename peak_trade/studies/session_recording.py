"""Put a finished session into the registry."""

from __future__ import annotations

from pathlib import Path

from peak_trade.core.digest import digest_bytes, digest_of
from peak_trade.core.time import iso
from peak_trade.journal.events import BarEvent
from peak_trade.journal.files import read_events, read_manifest
from peak_trade.journal.lines import encode_event
from peak_trade.sessions.store import summary
from peak_trade.studies.session import config_of
from peak_trade.tracking.record import RunRecord, record_run


def record_session(folder: Path) -> str:
    """Record a session in MLflow and return its run id; recording it again changes nothing.

    Its data digest is that of the recording, or of the bars that a live session saw. The session's own id goes into
    the run id: two live sessions are two runs even over the same bars.
    """
    config, found = config_of(folder), summary(folder)
    bars = [event for event in read_events(folder) if isinstance(event, BarEvent)]
    digests = dict(read_manifest(folder)["digests"])
    settings = config.trading.model_dump(mode="json")
    digests.setdefault("data", digest_bytes(*(encode_event(bar) for bar in bars)))
    run_id = digest_of([digests, folder.name])[:16]
    record_run(
        RunRecord(
            run_id=run_id,
            run_type=config.mode,
            strategy=config.strategy,
            symbol=config.symbol,
            timeframe=config.timeframe,
            start=iso(bars[0].ts_event) if bars else "",
            end=iso(bars[-1].ts_event) if bars else "",
            digests=digests,
            parameters={**config.parameters, "session": folder.name, "settings": settings},
            metrics={
                "total_return": (found.equity or 0.0) / config.trading.initial_cash - 1.0,
                "n_bars": float(found.n_bars),
                "n_fills": float(found.n_fills),
                "n_denials": float(found.n_denials),
            },
        )
    )
    return run_id
