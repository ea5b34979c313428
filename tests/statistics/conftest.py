"""What is marked `statistics` takes minutes and runs when -m asks for it by name."""


def pytest_collection_modifyitems(config, items):
    if "statistics" in config.option.markexpr:
        return
    long = [item for item in items if item.get_closest_marker("statistics")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]
