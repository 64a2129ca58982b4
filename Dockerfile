# One image for JupyterLab, the runner, the gateway and the MCP server: what runs in one runs in all.
FROM python:3.11-slim-bookworm AS build
# With the system's packages visible, pip falls back to a user's folder where /opt/venv may not be
# written: that is how `%pip install` works for a user who is not root.
RUN python -m venv --system-site-packages /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
COPY requirements-stack.lock ./
RUN pip install --ignore-installed --require-hashes -r requirements-stack.lock \
    && pip freeze --local > /opt/venv/constraints.txt

FROM build AS program
COPY pyproject.toml README.md LICENSE ./
COPY runner runner
RUN pip wheel --no-deps --wheel-dir /wheels .

# For the profile `smb` only: a Samba server for the folders.
FROM python:3.11-slim-bookworm AS smb
ARG NB_UID=1000
ARG NB_GID=100
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends samba \
    && rm -rf /var/lib/apt/lists/*
RUN (getent group "$NB_GID" || groupadd --gid "$NB_GID" jovyan) > /dev/null \
    && (getent passwd "$NB_UID" || useradd --uid "$NB_UID" --gid "$NB_GID" --no-log-init \
        --no-create-home --shell /usr/sbin/nologin jovyan) > /dev/null
COPY docker/smb.conf docker/smb.sh /etc/inbox-runner/
ENV NB_UID=$NB_UID
CMD ["sh", "/etc/inbox-runner/smb.sh"]

FROM python:3.11-slim-bookworm AS inbox-runner
ARG NB_UID=1000
ARG NB_GID=100
COPY --from=build /opt/venv /opt/venv
# The mount points are made and owned here, or a new volume would be root's.
RUN (getent group "$NB_GID" || groupadd --gid "$NB_GID" jovyan) > /dev/null \
    && (getent passwd "$NB_UID" || useradd --uid "$NB_UID" --gid "$NB_GID" --no-log-init \
        --home-dir /home/jovyan --shell /bin/bash jovyan) > /dev/null \
    && mkdir -p /etc/inbox-runner /var/lib/inbox-runner \
        /home/jovyan/work /home/jovyan/notebooks /home/jovyan/inbox /home/jovyan/outbox \
    && chown -R "$NB_UID:$NB_GID" /home/jovyan /var/lib/inbox-runner
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/home/jovyan \
    LANG=C.UTF-8 \
    INBOX_RUNNER__INBOX=/home/jovyan/inbox \
    INBOX_RUNNER__OUTBOX=/home/jovyan/outbox \
    INBOX_RUNNER__NOTEBOOKS=/home/jovyan/notebooks \
    INBOX_RUNNER__STATE=/var/lib/inbox-runner \
    INBOX_RUNNER__KERNELS__INSTALL=run
# Layers of their own, so that a change of the program or of your packages leaves the large one.
COPY --from=program /wheels /opt/wheels
RUN pip install --no-cache-dir --no-deps /opt/wheels/*.whl
# Your own packages; none of them may change what the program itself stands on.
COPY requirements.txt /etc/inbox-runner/
RUN pip install --no-cache-dir --constraint /opt/venv/constraints.txt \
    -r /etc/inbox-runner/requirements.txt
USER $NB_UID:$NB_GID
WORKDIR /etc/inbox-runner
CMD ["runner", "serve"]
