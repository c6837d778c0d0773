"""What a browser takes that looks at keyward's page: Chromium, node, and the packages that steer it."""

import install

PACKAGES = ["playwright-core@1.65.1", "typescript@7.0.2", "axe-core@4.14.1"]


def bring():
    """Where node is, and the folder with the packages."""
    install.require_tools("chromium")
    node = install.bring_node(install.NODE)
    name = "page-" + "-".join(package.replace("@", "-") for package in PACKAGES)
    return node, install.once(name, lambda folder, log: install.npm_install(folder, log, PACKAGES))
