"""Requests that wait out a short outage of Redis."""

import asyncio

from proxy.store.redis_connection import RedisConnection

REQUESTS = 50  # so many that an order by address in memory is not the order of arrival by chance


async def test_requests_that_waited_for_redis_go_on_in_the_order_of_their_arrival() -> None:
    """Each of them then asks for its claim: the first to come is the first to get it."""
    connection = RedisConnection("redis://127.0.0.1:1", "test", 5.0, lambda operation: None)
    connection.reached()
    connection.failed("claim", ConnectionResetError())
    went_on: list[int] = []

    async def wait(number: int) -> None:
        assert await connection.back(asyncio.get_running_loop().time() + 60.0)
        went_on.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(REQUESTS):
            group.create_task(wait(number))
        await asyncio.sleep(0)  # noqa: TID251 - one turn of the loop
        connection.reached()
    assert went_on == list(range(REQUESTS))
    await connection.close()
