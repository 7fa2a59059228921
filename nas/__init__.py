"""The engine: strategies, schedulers, storage, workers, and the front that ties them to estimators and spaces."""
