{{/* Ranges of addresses such as 10.0.0.0/8 and fd00::/8, of which a pattern says little: how many groups there
     are, and which range is part of another one. */}}

{{/* The bits that all addresses of a range have in common, behind its family. Nothing if it is no range. */}}
{{- define "nuthatch.rangeBits" -}}
{{- $words := splitList "/" . }}
{{- $address := first $words }}
{{- $bits := "" }}
{{- if contains ":" $address }}
{{- range include "nuthatch.groups" $address | fromJsonArray }}
{{- $bits = printf "%s%016b" $bits (printf "0x%s" . | int64) }}
{{- end }}
{{- else }}
{{- range splitList "." $address }}
{{- $bits = printf "%s%08b" $bits (int64 .) }}
{{- end }}
{{- end }}
{{- if $bits }}
{{- printf "IPv%d %s" (ternary 6 4 (contains ":" $address)) (trunc (last $words | int) $bits) }}
{{- end }}
{{- end }}

{{/* The eight groups of an IPv6 address as a list in JSON: `::` stands for those that are missing. An empty list
     if there are not eight. */}}
{{- define "nuthatch.groups" -}}
{{- $halves := splitList "::" . }}
{{- $before := splitList ":" (first $halves) }}
{{- $after := list }}
{{- if eq (len $halves) 2 }}
{{- $before = ternary list $before (eq (first $halves) "") }}
{{- $after = ternary list (splitList ":" (last $halves)) (eq (last $halves) "") }}
{{- range until (sub 8 (len (concat $before $after)) | max 1 | int) }}
{{- $before = append $before "0" }}
{{- end }}
{{- end }}
{{- $groups := concat $before $after }}
{{- ternary $groups list (and (eq (len $groups) 8) (lt (len $halves) 3) (not (has "" $groups))) | toJson }}
{{- end }}

{{/* The API server refuses what is no range, and an exception that is no smaller part of its range. */}}
{{- define "nuthatch.checkRanges" -}}
{{- range .Values.central.service.loadBalancerSourceRanges }}
{{- include "nuthatch.checkRange" (dict "place" "central.service.loadBalancerSourceRanges" "range" .) }}
{{- end }}
{{- range $name := list "clients" "monitoring" }}
{{- $place := printf "networkPolicy.%s" $name }}
{{- range get $.Values.networkPolicy $name | default list }}
{{- with .ipBlock }}
{{- $cidr := .cidr }}
{{- include "nuthatch.checkRange" (dict "place" $place "range" $cidr) }}
{{- $bits := include "nuthatch.rangeBits" $cidr }}
{{- range .except }}
{{- include "nuthatch.checkRange" (dict "place" $place "range" .) }}
{{- $own := include "nuthatch.rangeBits" . }}
{{- if eq $own $bits }}
{{- fail (printf "nuthatch: %s: except has %s, which is all of cidr, %s: except a smaller range, or remove this ipBlock" $place . $cidr) }}
{{- else if not (hasPrefix $bits $own) }}
{{- fail (printf "nuthatch: %s: except has %s, which is not in cidr, %s: remove it, or set cidr to a range that it is part of" $place . $cidr) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "nuthatch.checkRange" -}}
{{- if not (include "nuthatch.rangeBits" .range) }}
{{- fail (printf "nuthatch: %s: %s is no range of addresses: an IPv6 address has eight groups, or once :: in the place of those that are 0, such as fd00::/8" .place .range) }}
{{- end }}
{{- end }}
