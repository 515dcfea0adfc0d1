"""What a worker counts, for Prometheus. Names end as its conventions ask; labels are few and closed."""

from prometheus_client import Counter, Gauge, Histogram

ATTEMPTS = Counter(
    "darkroom_attempts_total", "Paid calls that were answered or lost", ["outcome", "charge"]
)
CREDITS = Counter("darkroom_credits_charged_total", "Credits that answers said were charged")
CALL_SECONDS = Histogram(
    "darkroom_call_seconds",
    "Duration of paid calls",
    buckets=(1, 2, 5, 10, 20, 30, 40, 50, 60, 80, 120, 180, 300),
)
SLOW_DOWNS = Counter("darkroom_slow_downs_total", "Answers 429: the provider's limit was reached")
NOT_BOOKED = Counter(
    "darkroom_answers_not_booked_total",
    "Answers to paid calls that could not be written down; their charge is looked up",
)
IN_FLIGHT = Gauge("darkroom_in_flight", "Jobs in the hands of this worker")
DELIVERIES_IN_FLIGHT = Gauge(
    "darkroom_deliveries_in_flight", "Deliveries in the hands of this worker"
)
NOT_KEPT = Counter(
    "darkroom_images_not_kept_total",
    "Times that a paid image could not be kept yet: by our own store, or the provider's download",
    ["waiting"],
)
STORE_REFUSED = Counter(
    "darkroom_store_refused_total", "Times that our own store took no probe object"
)
NOT_WRITTEN = Counter(
    "darkroom_writes_given_up_total", "Writes that Postgres refused or did not finish in time"
)
LEASES_LOST = Counter("darkroom_leases_lost_total", "Leases that ran out under a living worker")
TRIES = Counter("darkroom_webhook_tries_total", "Tries of deliveries", ["state"])
DESTINATIONS_SLOWED = Counter(
    "darkroom_webhook_slowed_total",
    "Answers of busy receivers that slowed a whole destination down",
)
RECORDED_ALONE = Counter(
    "darkroom_webhook_recorded_alone_total",
    "Tries that were written down by themselves, because the group's statement had failed",
    ["cause"],
)
for _cause in ("away", "refused"):
    RECORDED_ALONE.labels(_cause)
TRY_SECONDS = Histogram("darkroom_webhook_seconds", "Duration of tries of deliveries")
