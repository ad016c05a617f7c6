# Small images to try the cluster with; made from the distribution's packages, so that no registry is needed.
ARG BASE=debian:trixie-slim

# Debian 13's busybox (1.37: the wget of Debian 12's 1.35 crashes on -T), with its few libraries: a static program
# of glibc cannot look up names without them.
FROM ${BASE} AS busybox-files
RUN apt-get update -q && apt-get install -qy --no-install-recommends busybox && rm -rf /var/lib/apt/lists/* \
    && mkdir -p /rootfs/bin /rootfs/etc /rootfs/root /rootfs/home /rootfs/var /rootfs/run \
    && install -d -m 1777 /rootfs/tmp && ln -s /tmp /rootfs/var/tmp && ln -s bin /rootfs/sbin \
    && busybox=$(command -v busybox) && cp "$busybox" /rootfs/bin/busybox \
    && ldd "$busybox" | grep -o '/[^ ]*' | xargs -I{} cp --parents -L {} /rootfs/ \
    && for applet in $(busybox --list); do [ -e "/rootfs/bin/$applet" ] || ln -s busybox "/rootfs/bin/$applet"; done \
    && printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/home:/bin/false\n' >/rootfs/etc/passwd \
    && printf 'root:x:0:\nnogroup:x:65534:\n' >/rootfs/etc/group

FROM scratch AS busybox
COPY --from=busybox-files /rootfs /
CMD ["sh"]

# A web server of one page. On SIGTERM it goes on serving for as long as the cluster needs to send traffic elsewhere,
# as a server behind any load balancer should, and then ends.
FROM busybox AS httpd
ARG VERSION=v1
COPY deploy/images/httpd-serve /bin/httpd-serve
RUN mkdir -p /www && echo "test page ${VERSION}" >/www/index.html
EXPOSE 80
ENTRYPOINT ["/bin/httpd-serve"]

# nginx and the libraries that it needs, on top of busybox: small enough to be pushed in a second.
FROM ${BASE} AS nginx-files
RUN apt-get update -q && apt-get install -qy --no-install-recommends nginx-light && rm -rf /var/lib/apt/lists/* \
    && mkdir -p /rootfs/etc/nginx /rootfs/usr/sbin /rootfs/var/log/nginx /rootfs/var/lib/nginx /rootfs/run \
        /rootfs/usr/share/nginx/html \
    && cp /usr/sbin/nginx /rootfs/usr/sbin/ && cp /etc/nginx/mime.types /rootfs/etc/nginx/ \
    && cp /usr/share/nginx/html/index.html /rootfs/usr/share/nginx/html/ \
    && ldd /usr/sbin/nginx | grep -o '/[^ ]*' | xargs -I{} cp --parents -L {} /rootfs/ \
    && ln -s /dev/stdout /rootfs/var/log/nginx/access.log && ln -s /dev/stderr /rootfs/var/log/nginx/error.log
COPY deploy/images/nginx.conf /rootfs/etc/nginx/nginx.conf
FROM busybox AS nginx
COPY --from=nginx-files /rootfs /
EXPOSE 80
STOPSIGNAL SIGQUIT
CMD ["nginx", "-g", "daemon off;"]
