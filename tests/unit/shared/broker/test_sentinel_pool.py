from redis.asyncio import Connection, SSLConnection

from shared.broker.redis_py import connection_pool, new_connection


def test_a_tls_url_makes_tls_connections_with_the_servers_user() -> None:
    url = "rediss+sentinel://me:word@a,b/m/2?ssl_check_hostname=true&sentinel_password=other"
    connection = new_connection(connection_pool(url))
    assert isinstance(connection, SSLConnection)
    assert (connection.username, connection.password, connection.db) == ("me", "word", 2)
    assert connection.ssl_context.check_hostname


def test_a_plain_url_makes_connections_without_tls() -> None:
    connection = new_connection(connection_pool("redis+sentinel://:word@a/m"))
    assert isinstance(connection, Connection)
    assert not isinstance(connection, SSLConnection)
    assert (connection.password, connection.db) == ("word", 0)
