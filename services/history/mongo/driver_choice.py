"""Which driver is used: only the chosen one is imported."""

from collections.abc import Sequence

from pymongo.monitoring import CommandListener

from services.history.mongo.driver import Driver, DriverName


def opened_driver(driver: DriverName, uri: str, database: str, listeners: Sequence[CommandListener]) -> Driver:
    if driver == "motor":
        from services.history.mongo.motor_driver import MotorDriver

        return MotorDriver(uri, database, listeners)
    from services.history.mongo.pymongo_driver import PyMongoDriver

    return PyMongoDriver(uri, database, listeners)
